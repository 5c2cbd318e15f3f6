"""Folds: frames cut into parts of which each is the validation half once, near-duplicates never on both sides."""

import warnings
from collections import Counter
from collections.abc import Sequence

from milair.errors import MilairError
from milair.frames import duplicates
from milair.frames.frame import Frame, Split, class_order

_CUTS = 100  # tried for one in which every fold has every class


def folds(frames: Sequence[Frame], count: int, seed: int = 0) -> tuple[Split, ...]:
    """Frames cut into so many folds, grouped by near-duplicates and stratified by class: a split for each fold.

    Each seed has a cut of its own. Every fold has frames of every class, and all frames keep their order. MilairError
    if these frames cannot be cut so."""
    from sklearn.model_selection import StratifiedGroupKFold

    classes, groups = class_order(frames), duplicates.groups(frames)
    ids = [classes.index(frame.label) for frame in frames]
    for what, counts in (("frames", Counter(ids)), ("groups of near-duplicates", _groups(ids, groups))):
        for number, name in enumerate(classes):
            if counts[number] < count:
                raise MilairError(f"class '{name}' has {counts[number]} {what}; {count} folds need one each at least")
    for attempt in range(_CUTS):
        cutter = StratifiedGroupKFold(count, shuffle=True, random_state=seed + 2**20 * attempt)
        with warnings.catch_warnings(action="ignore", category=UserWarning):
            held = [set(places.tolist()) for _, places in cutter.split(ids, ids, groups)]
        if all(len({ids[place] for place in fold}) == len(classes) for fold in held):
            return tuple(_split(frames, fold) for fold in held)
    raise MilairError(f"no cut into {count} folds leaves frames of every class in each; fewer folds may")


def stated(frames: Sequence[Frame]) -> tuple[Split, ...]:
    """The folds that the data bring: `Frame.part` is the number of each frame's. MilairError if one of them has all
    frames of a class."""
    numbers = sorted({int(frame.part or 0) for frame in frames})
    cut = [_split(frames, {p for p, frame in enumerate(frames) if frame.part == str(n)}) for n in numbers]
    for number, split in zip(numbers, cut, strict=True):
        trained = {frame.label for frame in split.train}
        if untrained := next((frame.label for frame in split.val if frame.label not in trained), None):
            raise MilairError(f"fold {number} has all frames of class '{untrained}'; other folds need some as well")
    return tuple(cut)


def _groups(ids: Sequence[int], groups: Sequence[int]) -> Counter[int]:
    """How many groups of near-duplicates each class has."""
    return Counter(number for number, _ in set(zip(ids, groups, strict=True)))


def _split(frames: Sequence[Frame], held: set[int]) -> Split:
    train = tuple(frame for place, frame in enumerate(frames) if place not in held)
    return Split(train, tuple(frames[place] for place in sorted(held)))
