"""How far a score can be trusted: intervals by a bootstrap over the validation frames, and the spread over seeds.

The frames are a sample: other frames of the same kind would have given another score. Resamples of them show by how
much. They are the same for every model, so that a difference between two models is compared frame by frame.

Each resample is measured by its own standard error (the studentized bootstrap, Efron and Tibshirani 1993, chapter
12.5). Where several differences are compared at once, a resample counts by the one that deviates most. So their
intervals hold together, however they depend on each other and however few frames make a difference.

A bootstrap cannot show what another seed would have given. That spread is pooled over the recipes that were trained
more than once, and added. Where there are none, intervals are of the trained models, not of their recipes; of folds,
whose models share training frames, they then are too narrow: docs/noise.md has how often they hold.

The best of many is best by luck in part. What is to be expected of it is less: its score without that luck.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
_AT_A_TIME = 2**20  # numbers drawn
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
    """Scores of trainings on each validation frame: for each recipe an array [frames] per seed, 0 to 1."""

    def __init__(self, outcomes: Mapping[Any, Sequence[Numbers]], draws: int = 5000, seed: int = 0) -> None:
        self.outcomes = {key: np.stack(list(runs)) for key, runs in outcomes.items() if len(runs)}
        self.draws, self.seed = draws, seed

    def score(self, key: Hashable, level: float = 0.95) -> Estimate:
        """A recipe's mean over frames and seeds."""
        runs = self.outcomes[key]
        (half,) = self._half_widths(runs.mean(0)[:, None], np.array([1 / len(runs)]), level)
        return _estimate(runs.mean(), half, 0.0)

    def expected(self, key: Hashable, level: float = 0.95) -> Estimate:
        """The same of the recipe that was picked as the best of all, less the luck in that."""
        estimate, means = self.score(key, level), np.stack([runs.mean(0) for runs in self.outcomes.values()])
        lucky = max(luck(means, list(self.outcomes).index(key), self.draws, self.seed), 0.0)
        return _estimate(estimate.value - lucky, (estimate.high - estimate.low) / 2, 0.0)

    def differences(self, pairs: Sequence[tuple[Hashable, Hashable]], level: float = 0.95) -> list[Estimate]:
        """Of each pair the first recipe's score less the other's, on the same frames.

        All these intervals hold together with `level`."""
        if not pairs:
            return []
        runs = [(self.outcomes[key], self.outcomes[other]) for key, other in pairs]
        rows = np.stack([mine.mean(0) - theirs.mean(0) for mine, theirs in runs], axis=1)
        variances = np.array([1 / len(mine) + 1 / len(theirs) for mine, theirs in runs])
        halves = self._half_widths(rows, variances, level)
        return [_estimate(value, half, -1.0) for value, half in zip(rows.mean(0), halves, strict=True)]

    def against(self, key: Hashable, score: float, level: float = 0.95) -> Estimate:
        """A recipe's score less a published one, whose scores frame by frame are not known.

        The published score is given as much noise of frames as ours has, and one seed's."""
        runs = self.outcomes[key]
        (half,) = self._half_widths(runs.mean(0)[:, None], np.array([(1 / len(runs) + 1) / 2]), level)
        return _estimate(runs.mean() - score, 2**0.5 * half, -1.0)

    def rivals(self, level: float = 0.95) -> list[Any]:
        """The recipes among which the best one is, with `level`: those that no other is better than.

        The differences of a recipe from all others hold together (multiple comparisons with the best, Hsu 1984)."""
        pairs = {key: [(other, key) for other in self.outcomes if other != key] for key in self.outcomes}
        return [key for key in pairs if all(found.sign <= 0 for found in self.differences(pairs[key], level))]

    @cached_property
    def spread(self) -> tuple[float, int]:
        """Standard deviation over seeds, pooled over the recipes that have several, and its degrees of freedom."""
        several = [runs.mean(1) for runs in self.outcomes.values() if len(runs) > 1]
        freedom = sum(len(scores) - 1 for scores in several)
        total = sum(float(((scores - scores.mean()) ** 2).sum()) for scores in several)
        return (total / freedom) ** 0.5 if freedom else 0.0, freedom

    @cached_property
    def _resamples(self) -> Numbers:
        """How often each frame is in each resample: [draws, frames]."""
        frames = next(iter(self.outcomes.values())).shape[1]
        counts = np.random.default_rng(self.seed).multinomial(frames, np.full(frames, 1 / frames), self.draws)
        return counts.astype(np.float64)

    def _half_widths(self, rows: Numbers, variances: Numbers, level: float) -> Numbers:
        """How far the means over frames may lie from the truth, all of them together with `level`: [means].

        `rows` [frames, means]; `variances` [means]: each mean's variance over seeds, in that of one training. It is
        1/2 for a mean of two."""
        deviation, freedom = self.spread
        random, frames = np.random.default_rng(self.seed + 1), len(rows)
        if frames < 2:
            return np.full(rows.shape[1], np.inf)
        seeds = deviation**2 * variances
        centred = rows - rows.mean(0)
        centred[np.abs(centred) < _ROUNDING] = 0
        largest, many = [], max(_AT_A_TIME // rows.shape[1], 1)
        for first in range(0, self.draws, many):
            counts = self._resamples[first : first + many]
            error = counts @ centred / frames
            variance = np.maximum(counts @ centred**2 / frames - error**2, 0) / (frames - 1)
            if freedom:
                error += random.normal(size=error.shape) * seeds**0.5
                variance += seeds * random.chisquare(freedom, (len(counts), 1)) / freedom
            with np.errstate(divide="ignore", invalid="ignore"):
                largest.append(np.nan_to_num(np.abs(error) / variance**0.5, nan=0.0, posinf=np.inf).max(1))
        halves: Numbers = (centred.var(0, ddof=1) / frames + seeds) ** 0.5  # standard errors
        halves[halves > 0] *= np.quantile(np.concatenate(largest), level, method="higher")
        return halves


def luck(outcomes: Numbers, best: int | None = None, draws: int = 5000, seed: int = 0) -> float:
    """How much of the score of the best of several recipes is luck with these frames; outcomes [recipes, frames].

    `best`: its row; None: the highest mean. It had not been picked, were these frames not kind to it. So on each
    resample of the frames the best is picked anew; where that is another recipe, the frames that are not in the
    resample say what the pick was worth (the bootstrap bias corrected cross-validation of Tsamardinos, Greasidou and
    Borboudakis 2018, Machine Learning 107, each pick held against the best of all on the same frames). If all recipes
    are equally good it is right on average; else it is a little high, for resamples pick worse than all frames do.
    0 for one recipe or one frame."""
    frames = outcomes.shape[1]
    counts = np.random.default_rng(seed).multinomial(frames, np.full(frames, 1 / frames), draws)
    counts = counts[(counts == 0).any(1)]
    if not len(counts):
        return 0.0
    left = counts == 0
    scores, picked = left @ outcomes.T / left.sum(1)[:, None], (counts @ outcomes.T).argmax(1)
    theirs = np.take_along_axis(scores, picked[:, None], 1)[:, 0]
    return float((scores[:, outcomes.mean(1).argmax() if best is None else best] - theirs).mean())


def _estimate(value: float, half: float, least: float) -> Estimate:
    """An interval cut to what can be: scores are from `least` 0 to 1, their differences from `least` -1 to 1."""
    return Estimate(float(value), float(max(value - half, least)), float(min(value + half, 1.0)))
