"""Training and validation frames: as the document split its frames, by groups, in folds, or as the data say."""

import hashlib
import math
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from milair.errors import MilairError
from milair.frames import FEW, FOLDS, KINDS, OF_FEW, TRAIN, VALIDATION, duplicates, folds
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


def splits(frames: Sequence[Frame], kind: str, seed: int = 0) -> tuple[Split, ...]:
    """The splits that a trial is trained on: one, or with "folds:5", or if the data bring folds, one a fold.

    Each seed cuts folds of its own; the other kinds do not depend on it. MilairError as `split` and `folds.folds`."""
    if kind.startswith(FOLDS):
        return folds.folds(frames, int(kind.partition(":")[2]), seed)
    return folds.stated(frames) if has_folds(frames, kind) else (split(frames, kind),)


def has_folds(frames: Sequence[Frame], kind: str) -> bool:
    """Whether a split of that kind has several halves to validate on."""
    return kind.startswith(FOLDS) or (kind == "file" and _are_folds(frames))


def default_kind(frames: Sequence[Frame]) -> str:
    """ "file" if the data bring a split; else of few frames "folds:5", if they can be cut so; else "stratified"."""
    if {TRAIN, VALIDATION} <= {frame.part for frame in frames} or _are_folds(frames):
        return "file"
    if len(frames) < FEW:
        with suppress(MilairError):
            splits(frames, OF_FEW)
            return OF_FEW
    return KINDS[0]


def identity(frames: Sequence[Frame], kind: str) -> dict[str, Any]:
    """What a study keeps of its split: two splits of the same frames are equal if these are."""
    if kind == "file":
        named = sorted(f"{frame.path.name}|{frame.part}" for frame in frames)
        return {"kind": kind, "fingerprint": hashlib.sha256("\n".join(named).encode()).hexdigest()[:16]}
    if kind.startswith(FOLDS):
        return {"kind": kind, "alike": duplicates.ALIKE}
    return {"share": SHARE, "seed": SEED} | ({"kind": kind, "alike": duplicates.ALIKE} if kind == "grouped" else {})


def describe(cut: Sequence[Split], stored: Mapping[str, Any]) -> str:
    """A line for people, and a warning if validation frames look like training frames."""
    halves, kind = cut[0], stored.get("kind", KINDS[0])
    if len(cut) > 1:
        sizes = [len(fold.val) for fold in cut]
        line = f"split    {len(cut)} folds of {min(sizes)} to {max(sizes)} validation frames ({kind})"
    else:
        seed = f", seed {stored['seed']}" if "seed" in stored else ""
        line = f"split    {len(halves.train)} training frames, {len(halves.val)} validation frames ({kind}{seed})"
    if alike := sum(map(duplicates.across, cut)):
        line += (
            f"\nwarning  {alike} of the {sum(len(half.val) for half in cut)} validation frames have a near-duplicate "
            "among the training frames, which flatters scores; --split grouped keeps such frames on one side"
        )
    return line


def _are_folds(frames: Sequence[Frame]) -> bool:
    """Whether the data say of every frame of which fold it is, and there are two at least."""
    parts = {frame.part or "" for frame in frames}
    return len(parts) > 1 and all(map(str.isdecimal, parts))


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
    # It warns of a class with less frames than folds; `split` looks after that.
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        places = next(StratifiedGroupKFold(folds, shuffle=True, random_state=SEED).split(ids, ids, groups))
    train, val = ([frames[place] for place in half] for half in places)
    return train, val


def _stated(frames: Sequence[Frame], _: Sequence[str]) -> tuple[Sequence[Frame], Sequence[Frame]]:
    if unstated := next((frame.path.name for frame in frames if frame.part not in (TRAIN, VALIDATION)), None):
        raise MilairError(
            f"--split file: nothing says whether {unstated} is a training or a validation frame, or of which fold; "
            f"labels may say so, or a {SPLIT} (filename,split) beside them"
        )
    train, val = ([frame for frame in frames if frame.part == part] for part in (TRAIN, VALIDATION))
    if not train or not val:
        raise MilairError(f"--split file: all frames are {frames[0].part} frames; a search needs both kinds")
    return train, val
