"""Which frames to learn from and which to judge by: as the document split its frames, by groups, or as the data say."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from milair.errors import MilairError
from milair.frames import duplicates
from milair.frames.frame import Frame, Split, class_order
from milair.frames.readers import TRAIN, VALIDATION, tables

KINDS = ("stratified", "grouped", "file")
SHARE, SEED = 0.25, 42  # the document's


def split(frames: Sequence[Frame], kind: str = "stratified") -> Split:
    """Frames split one of three ways. MilairError if these frames cannot be.

    "stratified": scikit-learn's train_test_split(test_size=0.25, random_state=42, stratify=class), as in the document.
    "grouped": a stratified quarter as well, near-duplicates (see duplicates.py) all on one side.
    "file": as the annotations, or a `split.csv` beside them, say.
    """
    made = {"stratified": _stratified, "grouped": _grouped, "file": _as_said}[kind](frames)
    taught = {frame.label for frame in made.train}
    for frame in made.val:
        if frame.label not in taught:
            raise MilairError(f"class '{frame.label}' is only among the frames to judge by, in none to learn from")
    return made


def default_kind(frames: Sequence[Frame]) -> str:
    """ "file" if the data bring a split, else "stratified"."""
    return "file" if {TRAIN, VALIDATION} <= {frame.part for frame in frames} else "stratified"


def identity(frames: Sequence[Frame], kind: str) -> dict[str, Any]:
    """What a study keeps of its split: two splits of the same frames are equal if these are."""
    if kind == "file":
        named = sorted(f"{frame.path.name}|{frame.part}" for frame in frames)
        return {"kind": kind, "fingerprint": hashlib.sha256("\n".join(named).encode()).hexdigest()[:16]}
    drawn = {"share": SHARE, "seed": SEED}
    return drawn | ({"kind": kind, "alike": duplicates.ALIKE} if kind == "grouped" else {})


def describe(made: Split, kept: Mapping[str, Any]) -> str:
    """A line for people, and a warning if frames to judge by look like some to learn from."""
    kind = kept.get("kind", "stratified")
    seed = f", seed {kept['seed']}" if "seed" in kept else ""
    line = f"split    {len(made.train)} to learn from, {len(made.val)} to judge by ({kind}{seed})"
    if alike := duplicates.across(made):
        line += (
            f"\nwarning  {alike} of these {len(made.val)} have a near-duplicate among the others, which flatters "
            "scores; --split grouped keeps such frames on one side"
        )
    return line


def _stratified(frames: Sequence[Frame]) -> Split:
    from sklearn.model_selection import train_test_split

    classes, counts = _splittable(frames)
    for name, count in sorted(counts.items()):
        if count < 2:
            raise MilairError(f"class '{name}' has {count} frame; a stratified split needs at least 2 of each class")
    ids = [classes.index(frame.label) for frame in frames]
    train, val = train_test_split(frames, test_size=SHARE, random_state=SEED, stratify=ids)
    missing = [name for name in classes if name not in {frame.label for frame in val}]
    if missing:
        raise MilairError(
            f"class '{missing[0]}' has {counts[missing[0]]} frames, too few for one of them to fall into validation"
        )
    return Split(tuple(train), tuple(val))


def _grouped(frames: Sequence[Frame]) -> Split:
    from sklearn.model_selection import StratifiedGroupKFold

    classes, _ = _splittable(frames)
    group = duplicates.groups(frames)
    for name in classes:
        if len({number for number, frame in zip(group, frames, strict=True) if frame.label == name}) < 2:
            raise MilairError(
                f"the frames of class '{name}' are all near-duplicates of each other: they cannot be split"
            )
    ids = [classes.index(frame.label) for frame in frames]
    folds = StratifiedGroupKFold(round(1 / SHARE), shuffle=True, random_state=SEED)
    train, val = next(folds.split(ids, ids, group))
    return Split(tuple(frames[number] for number in train), tuple(frames[number] for number in val))


def _as_said(frames: Sequence[Frame]) -> Split:
    for frame in frames:
        if frame.part not in (TRAIN, VALIDATION):
            raise MilairError(
                f"--split file: nothing says whether {frame.path.name} is to learn from or to judge by; annotations "
                f"may say so, or a {tables.SPLIT} (filename,split) beside them"
            )
    train, val = (tuple(frame for frame in frames if frame.part == part) for part in (TRAIN, VALIDATION))
    if not train or not val:
        raise MilairError(
            f"--split file: all frames are of the part {frames[0].part}; some must be to judge by, and some not"
        )
    if len({frame.label for frame in frames}) < 2:
        raise MilairError(f"all frames are of class '{frames[0].label}'; a search needs at least two classes")
    return Split(train, val)


def _splittable(frames: Sequence[Frame]) -> tuple[tuple[str, ...], Counter[str]]:
    """The classes and their counts. MilairError if no quarter of the frames can hold all classes."""
    classes, counts = class_order(frames), Counter(frame.label for frame in frames)
    if len(classes) < 2:
        raise MilairError(f"all frames are of class '{classes[0]}'; a search needs at least two classes")
    held = math.ceil(SHARE * len(frames))
    if held < len(classes):
        raise MilairError(
            f"{len(frames)} frames of {len(classes)} classes: the {held} to judge by cannot hold every class"
        )
    return classes, counts
