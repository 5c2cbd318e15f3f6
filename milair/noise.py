"""How far a score can be trusted: intervals by a bootstrap over the validation frames, and the spread over seeds.

The frames are a sample: other frames of the same kind would have given another score. Resampling them, the same
resample for every model, shows by how much, and how much of a difference between two models is the frames' doing.
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
_BLOCK = 500  # resamples that are drawn at a time


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

    def __init__(self, outcomes: Mapping[Any, Sequence[Numbers]], draws: int = 10_000, seed: int = 0) -> None:
        self.outcomes = {key: np.stack(list(runs)) for key, runs in outcomes.items() if len(runs)}
        self.draws, self.seed = draws, seed

    def score(self, key: Hashable, level: float = 0.95) -> Estimate:
        """Of a recipe, the mean over its seeds."""
        row = self._rows[key]
        return self._estimate(self._means[:, row], self.outcomes[key].mean(), len(self.outcomes[key]), level)

    def difference(self, key: Hashable, other: Hashable, level: float = 0.95) -> Estimate:
        """The first recipe's score less the other's, on the same frames; the other way round, its mirror image."""
        if repr(key) > repr(other):  # whichever way round, and in whatever order they came
            mirrored = self.difference(other, key, level)
            return Estimate(-mirrored.value, -mirrored.high, -mirrored.low)
        mine, theirs = self.outcomes[key], self.outcomes[other]
        drawn = self._means[:, self._rows[key]] - self._means[:, self._rows[other]]
        each = 1 / (1 / len(mine) + 1 / len(theirs))
        return self._estimate(drawn, mine.mean() - theirs.mean(), each, level)

    def against(self, key: Hashable, score: float, level: float = 0.95) -> Estimate:
        """A recipe's score less a published one, whose frame-by-frame outcomes nobody kept.

        That score has noise of its own: it is given as much as ours has, and one seed."""
        row = self._rows[key]
        own = self.outcomes[key].mean()
        shuffled = np.random.default_rng(self.seed + 1).permutation(self._means[:, row])
        each = 1 / (1 / len(self.outcomes[key]) + 1)
        return self._estimate(self._means[:, row] - shuffled, own - score, each, level, centre=own - score)

    @cached_property
    def spread(self) -> tuple[float, int]:
        """Standard deviation over seeds, pooled over the recipes that have several, and its degrees of freedom."""
        several = [runs.mean(1) for runs in self.outcomes.values() if len(runs) > 1]
        freedom = sum(len(scores) - 1 for scores in several)
        total = sum(float(((scores - scores.mean()) ** 2).sum()) for scores in several)
        return (total / freedom) ** 0.5 if freedom else 0.0, freedom

    @cached_property
    def _seeds(self) -> Numbers:
        """What seeds do to a score, in standard deviations: [draws]."""
        return np.random.default_rng(self.seed + 2).standard_t(self.spread[1], self.draws)

    @cached_property
    def _rows(self) -> dict[Any, int]:
        return {key: row for row, key in enumerate(self.outcomes)}

    @cached_property
    def _means(self) -> Numbers:
        """Of every resample of the frames, every recipe's score: [draws, recipes]."""
        table = np.stack([runs.mean(0) for runs in self.outcomes.values()], axis=1)
        frames, random = len(table), np.random.default_rng(self.seed)
        chances = np.full(frames, 1 / frames)
        blocks = [
            random.multinomial(frames, chances, min(_BLOCK, self.draws - first)) @ table / frames
            for first in range(0, self.draws, _BLOCK)
        ]
        return np.concatenate(blocks)

    def _estimate(self, drawn: Numbers, value: float, seeds: float, level: float, centre: float = 0.0) -> Estimate:
        deviation, freedom = self.spread
        if freedom:
            drawn = drawn + deviation / seeds**0.5 * self._seeds
        low, high = np.quantile(drawn + centre, [(1 - level) / 2, (1 + level) / 2])
        return Estimate(float(value), float(low), float(high))
