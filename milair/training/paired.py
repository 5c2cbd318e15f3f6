"""Two recipes compared on the same frames, by a paired t-test (Student 1908) that allows for the noise of seeds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from milair.frames.frame import Frame
from milair.training.values import EPSILON

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Truth:
    """What validation frames show: boxes [frames, 4] in shares, and the numbers of their classes [frames]."""

    boxes: Numbers
    labels: NDArray[np.intp]

    @classmethod
    def of(cls, frames: Sequence[Frame], classes: Sequence[str]) -> Self:
        return cls(np.array([frame.box for frame in frames]), np.array([classes.index(f.label) for f in frames]))

    def outcomes(self, rows: Sequence[Sequence[float]]) -> Numbers:
        """The IoU of each frame's box, and 1 where its class is right, else 0: [frames, 2]; NaN without outputs.

        `rows`: of each frame the class's number, its probability and the box, or nothing."""
        seen, both = np.array([bool(row) for row in rows]), np.full((len(rows), 2), np.nan)
        if seen.any():
            outputs, boxes = np.array([row for row in rows if row], np.float64), self.boxes[seen]
            low, high = np.maximum(outputs[:, 2:4], boxes[:, :2]), np.minimum(outputs[:, 4:], boxes[:, 2:])
            shared = np.clip(high - low, 0, None).prod(1)
            union = _area(outputs[:, 2:]) + _area(boxes) - shared
            both[seen] = np.stack([shared / (union + EPSILON), outputs[:, 0] == self.labels[seen]], axis=1)
        return both


def chance_not_worse(mine: Numbers, theirs: Numbers, spread: float = 0.0, runs: tuple[int, int] = (1, 1)) -> float:
    """The p-value, 0 to 1, of a recipe being no worse than another: the less, the worse it did.

    `mine` and `theirs` [frames]: scores on the same frames, means over as many trainings as `runs` says; NaN where a
    frame is not known. `spread`: the standard deviation of a training's score over seeds."""
    known = ~np.isnan(mine + theirs)
    differences = (mine - theirs)[known]
    frames = len(differences)
    if frames < 2:
        return 1.0
    variance = differences.var(ddof=1) / frames + spread**2 * (1 / runs[0] + 1 / runs[1])
    if variance <= 0:
        return float(differences[0] >= 0)
    return float(stdtr(frames - 1, differences.mean() / variance**0.5))


def spread_over_seeds(scores: Iterable[Sequence[float]]) -> float:
    """The standard deviation of a training's score over seeds, pooled over recipes: `scores` of each one's trainings.

    0 where no recipe was trained twice."""
    several = [np.array(runs) for runs in scores if len(runs) > 1]
    freedom = sum(len(runs) - 1 for runs in several)
    return float(sum(((runs - runs.mean()) ** 2).sum() for runs in several) / freedom) ** 0.5 if freedom else 0.0


def _area(boxes: Numbers) -> Numbers:
    area: Numbers = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(1)
    return area
