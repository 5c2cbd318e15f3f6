"""How far a score can be trusted: intervals by a bootstrap over the validation frames, and the spread over seeds.

The frames are a sample: other frames of the same kind would have given another score. Resampling them, the same
resample for every model, shows by how much, and how much of a difference between two models is the frames' doing.
Each resample is measured by its own standard error (the studentized bootstrap, Efron and Tibshirani 1993, chapter
12.5), and where several differences are judged together, it counts by the one of them that strays farthest: their
intervals then hold together, however they hang together and however few frames make a difference.

It cannot show what another seed would have given. That spread is taken from the recipes that were trained more than
once, pooled over them, and added; where there is none, intervals speak of the trained models, not of the recipes.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
_AT_A_TIME = 2**20  # numbers that are drawn
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Estimate:
    """A score or a difference of two, with the interval that holds it with the probability asked for."""

    value: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """1 or -1 where the interval lies wholly on one side of zero; 0 where it does not."""
        return int(self.low > 0) - int(self.high < 0)

    @property
    def span(self) -> str:
        return f"{self.low:.3f} to {self.high:.3f}"

    def __str__(self) -> str:
        """As a difference: "+0.012 (-0.030 to +0.054)"."""
        return f"{self.value:+.3f} ({self.low:+.3f} to {self.high:+.3f})"


class Noise:
    """Trainings' outcomes, frame by frame: for each recipe the arrays [frames] of its seeds, 0 to 1."""

    def __init__(self, outcomes: Mapping[Any, Sequence[Numbers]], draws: int = 5000, seed: int = 0) -> None:
        self.outcomes = {key: np.stack(list(runs)) for key, runs in outcomes.items() if len(runs)}
        self.draws, self.seed = draws, seed

    def score(self, key: Hashable, level: float = 0.95) -> Estimate:
        """Of a recipe, the mean over its seeds."""
        runs = self.outcomes[key]
        (reach,) = self._reach(runs.mean(0)[:, None], np.array([1 / len(runs)]), level)
        return _estimate(runs.mean(), reach, 0.0)

    def difference(self, key: Hashable, other: Hashable, level: float = 0.95) -> Estimate:
        """The first recipe's score less the other's, on the same frames."""
        return self.differences([(key, other)], level)[0]

    def differences(self, pairs: Sequence[tuple[Hashable, Hashable]], level: float = 0.95) -> list[Estimate]:
        """Of each pair the first recipe's score less the other's; all these intervals hold together with `level`."""
        if not pairs:
            return []
        runs = [(self.outcomes[key], self.outcomes[other]) for key, other in pairs]
        apart = np.stack([mine.mean(0) - theirs.mean(0) for mine, theirs in runs], axis=1)
        trainings = np.array([1 / len(mine) + 1 / len(theirs) for mine, theirs in runs])
        reaches = self._reach(apart, trainings, level)
        return [_estimate(value, reach, -1.0) for value, reach in zip(apart.mean(0), reaches, strict=True)]

    def against(self, key: Hashable, score: float, level: float = 0.95) -> Estimate:
        """A recipe's score less a published one, whose frame-by-frame outcomes nobody kept.

        That score has noise of its own: it is given as much as ours has, and one seed."""
        runs = self.outcomes[key]
        (reach,) = self._reach(runs.mean(0)[:, None], np.array([(1 / len(runs) + 1) / 2]), level)
        return _estimate(runs.mean() - score, 2**0.5 * reach, -1.0)

    def rivals(self, level: float = 0.95) -> list[Any]:
        """The recipes among which the best one is, with `level`: those that no other is better than, each one's
        differences from all others held together (multiple comparisons with the best, Hsu 1984)."""
        keys = list(self.outcomes)
        return [
            key
            for key in keys
            if all(
                found.sign <= 0 for found in self.differences([(other, key) for other in keys if other != key], level)
            )
        ]

    @cached_property
    def spread(self) -> tuple[float, int]:
        """Standard deviation over seeds, pooled over the recipes that have several, and its degrees of freedom."""
        several = [runs.mean(1) for runs in self.outcomes.values() if len(runs) > 1]
        freedom = sum(len(scores) - 1 for scores in several)
        total = sum(float(((scores - scores.mean()) ** 2).sum()) for scores in several)
        return (total / freedom) ** 0.5 if freedom else 0.0, freedom

    @cached_property
    def _resamples(self) -> Numbers:
        """How often each frame is in each of them: [draws, frames]."""
        frames = next(iter(self.outcomes.values())).shape[1]
        counts = np.random.default_rng(self.seed).multinomial(frames, np.full(frames, 1 / frames), self.draws)
        return counts.astype(np.float64)

    def _reach(self, rows: Numbers, trainings: Numbers, level: float) -> Numbers:
        """How far means over frames may lie from the truth, all of them with `level`: [means].

        `rows` [frames, means]; `trainings`: how many variances over seeds each mean has, 1/2 if it is of two."""
        deviation, freedom = self.spread
        random, frames = np.random.default_rng(self.seed + 1), len(rows)
        if frames < 2:
            return np.full(rows.shape[1], np.inf)
        seeds = deviation**2 * trainings
        centred = rows - rows.mean(0)
        centred[np.abs(centred) < _ROUNDING] = 0
        farthest, many = [], max(_AT_A_TIME // rows.shape[1], 1)
        for first in range(0, self.draws, many):
            counts = self._resamples[first : first + many]
            strayed = counts @ centred / frames
            variance = np.maximum(counts @ centred**2 / frames - strayed**2, 0) / (frames - 1)
            if freedom:
                strayed += random.normal(size=strayed.shape) * seeds**0.5
                variance += seeds * random.chisquare(freedom, (len(counts), 1)) / freedom
            with np.errstate(divide="ignore", invalid="ignore"):
                farthest.append(np.nan_to_num(np.abs(strayed) / variance**0.5, nan=0.0, posinf=np.inf).max(1))
        errors: Numbers = (centred.var(0, ddof=1) / frames + seeds) ** 0.5
        errors[errors > 0] *= np.quantile(np.concatenate(farthest), level, method="higher")
        return errors


def _estimate(value: float, reach: float, least: float) -> Estimate:
    """With an interval that keeps to what scores, from 0 to 1, or their differences, from -1 to 1, can be."""
    return Estimate(float(value), float(max(value - reach, least)), float(min(value + reach, 1.0)))
