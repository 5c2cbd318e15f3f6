"""Training and validation frames: as the document split its frames, by groups, or as the data say."""

import hashlib
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from milair.errors import MilairError
from milair.frames import KINDS, TRAIN, VALIDATION, duplicates
from milair.frames.frame import Frame, Split, class_order
from milair.frames.readers.tables import SPLIT

SHARE, SEED = 0.25, 42  # the document's


def split(frames: Sequence[Frame], kind: str = KINDS[0]) -> Split:
    """Frames split one of three ways. MilairError if these frames cannot be.

    "stratified": scikit-learn's train_test_split(test_size=0.25, random_state=42, stratify=class), as in the document.
    "grouped": a stratified quarter as well, near-duplicates (see duplicates.py) all on one side.
    "file": as the annotations, or a `split.csv` beside them, say.
    """
    classes, held = class_order(frames), math.ceil(SHARE * len(frames))
    if kind != "file" and held < len(classes):
        raise MilairError(
            f"{len(frames)} frames of {len(classes)} classes: {held} validation frames cannot hold every class"
        )
    train, val = {"stratified": _stratified, "grouped": _grouped, "file": _stated}[kind](frames, classes)
    trained = {frame.label for frame in train}
    if untrained := next((frame.label for frame in val if frame.label not in trained), None):
        raise MilairError(f"class '{untrained}' has validation frames only; it needs training frames as well")
    return Split(tuple(train), tuple(val))


def default_kind(frames: Sequence[Frame]) -> str:
    """ "file" if the data bring a split, else "stratified"."""
    return "file" if {TRAIN, VALIDATION} <= {frame.part for frame in frames} else KINDS[0]


def identity(frames: Sequence[Frame], kind: str) -> dict[str, Any]:
    """What a study keeps of its split: two splits of the same frames are equal if these are."""
    if kind == "file":
        named = sorted(f"{frame.path.name}|{frame.part}" for frame in frames)
        return {"kind": kind, "fingerprint": hashlib.sha256("\n".join(named).encode()).hexdigest()[:16]}
    return {"share": SHARE, "seed": SEED} | ({"kind": kind, "alike": duplicates.ALIKE} if kind == "grouped" else {})


def describe(halves: Split, stored: Mapping[str, Any]) -> str:
    """A line for people, and a warning if validation frames look like training frames."""
    seed = f", seed {stored['seed']}" if "seed" in stored else ""
    line = (
        f"split    {len(halves.train)} training frames, {len(halves.val)} validation frames "
        f"({stored.get('kind', KINDS[0])}{seed})"
    )
    if alike := duplicates.across(halves):
        line += (
            f"\nwarning  {alike} of the {len(halves.val)} validation frames have a near-duplicate among the training "
            "frames, which flatters scores; --split grouped keeps such frames on one side"
        )
    return line


def _stratified(frames: Sequence[Frame], classes: Sequence[str]) -> tuple[Sequence[Frame], Sequence[Frame]]:
    from sklearn.model_selection import train_test_split

    counts = Counter(frame.label for frame in frames)
    if rare := sorted(name for name in classes if counts[name] < 2):
        raise MilairError(f"class '{rare[0]}' has 1 frame; a stratified split needs at least 2 of each class")
    train, val = train_test_split(
        frames, test_size=SHARE, random_state=SEED, stratify=[classes.index(frame.label) for frame in frames]
    )
    if missing := [name for name in classes if name not in {frame.label for frame in val}]:
        raise MilairError(
            f"class '{missing[0]}' has {counts[missing[0]]} frames, too few for one of them to fall into validation"
        )
    return train, val


def _grouped(frames: Sequence[Frame], classes: Sequence[str]) -> tuple[Sequence[Frame], Sequence[Frame]]:
    from sklearn.model_selection import StratifiedGroupKFold

    ids, groups, folds = [classes.index(frame.label) for frame in frames], duplicates.groups(frames), round(1 / SHARE)
    several = Counter(number for number, _ in set(zip(ids, groups, strict=True)))
    if alike := [name for number, name in enumerate(classes) if several[number] < 2]:
        raise MilairError(
            f"the frames of class '{alike[0]}' are all near-duplicates of each other: they cannot be split"
        )
    if ids.count(0) < folds:  # of the most frequent class
        raise MilairError(f"class '{classes[0]}' has {ids.count(0)} frames; a grouped split needs {folds} of one class")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a class with less frames than folds; `split` looks after it
        places = next(StratifiedGroupKFold(folds, shuffle=True, random_state=SEED).split(ids, ids, groups))
    train, val = ([frames[place] for place in half] for half in places)
    return train, val


def _stated(frames: Sequence[Frame], _: Sequence[str]) -> tuple[Sequence[Frame], Sequence[Frame]]:
    if unstated := next((frame.path.name for frame in frames if frame.part not in (TRAIN, VALIDATION)), None):
        raise MilairError(
            f"--split file: nothing says whether {unstated} is a training or a validation frame; labels may say so, "
            f"or a {SPLIT} (filename,split) beside them"
        )
    train, val = ([frame for frame in frames if frame.part == part] for part in (TRAIN, VALIDATION))
    if not train or not val:
        raise MilairError(f"--split file: all frames are {frames[0].part} frames; a search needs both kinds")
    return train, val
