"""The chance baseline: what a score is worth that no picture was looked at for."""

from collections.abc import Iterator, Sequence
from statistics import fmean

from milair.frames.frame import Split, class_order


def chance_baseline(splits: Sequence[Split]) -> float:
    """The validation score of predicting the training frames' majority class and mean box for every frame, 0 to 1."""
    return fmean(score for split in splits for score in _scores(split))


def _scores(split: Split) -> Iterator[float]:
    left, top, right, bottom = (fmean(sides) for sides in zip(*(frame.box for frame in split.train), strict=True))
    label = class_order(split.train)[0]
    for frame in split.val:
        xmin, ymin, xmax, ymax = frame.box
        shared = max(min(xmax, right) - max(xmin, left), 0) * max(min(ymax, bottom) - max(ymin, top), 0)
        iou = shared / (frame.area + (right - left) * (bottom - top) - shared)
        yield (iou + (frame.label == label)) / 2
