"""Does a reported score keep its promise? Its optimism and the coverage of its interval, on the sets of drawn.py.

    .venv/bin/python benchmarks/selection/calibration.py

Each set is a search: its recipes are estimated on its 189 frames, and what the same models score on 5,000 other frames
is the truth. A report is optimistic by what it says less the truth, on average over the sets. Its interval covers if
it holds the truth; of 95% intervals 95 in 100 should.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from milair.training.noise import Noise, Numbers

DRAWN = Path(__file__).with_name("drawn.npz")
DRAWS = 1000  # resamples of frames, for speed; a report has 5,000


@dataclass(frozen=True)
class Way:
    """A way to estimate, on all sets: what it saw, and what is true of the same models."""

    outcomes: Numbers  # [sets, runs, frames]: (IoU + correctness) / 2 of frames that a model was not trained on
    truth: Numbers  # [sets, runs]: on unseen frames, the mean over a run's models
    names: list[str]  # [runs] of their recipes, each once, and then those that were trained with other seeds

    @property
    def once(self) -> Numbers:
        """Of each recipe the first training: [sets, recipes, frames]."""
        return self.outcomes[:, : len(set(self.names))]

    @property
    def scores(self) -> Numbers:
        """What is reported of each recipe: [sets, recipes]."""
        return self.once.mean(2)

    @property
    def true(self) -> Numbers:
        """[sets, recipes]."""
        return self.truth[:, : self.once.shape[1]]

    @cached_property
    def halves(self) -> Numbers:
        """Half of each 95% interval, as milair gives it where every recipe was trained once: [sets, recipes]."""
        return np.array([[_half(noise, key) for key in noise.outcomes] for noise in map(_noise, self.once)])

    @cached_property
    def halves_with_seeds(self) -> Numbers:
        """The same where some recipes were trained several times, which shows the spread over seeds to all of them."""
        return np.array([[_half(noise, key) for key in noise.outcomes] for noise in map(self._noise, self.outcomes)])

    def runs(self, recipe: int) -> list[int]:
        """The places of a recipe's trainings."""
        return [place for place, name in enumerate(self.names) if name == self.names[recipe]]

    def _noise(self, outcomes: Numbers) -> Noise:
        """Of one set's [runs, frames]."""
        return Noise({recipe: list(outcomes[self.runs(recipe)]) for recipe in range(self.once.shape[1])}, DRAWS)

    @property
    def best(self) -> NDArray[np.intp]:
        """The place of each set's best recipe, by what is reported: [sets, 1]."""
        return self.scores.argmax(1)[:, None]

    @property
    def corrected(self) -> Numbers:
        """What is to be expected of each set's best: [sets, 1]."""
        return np.array([[expected(rows, seed=number)] for number, rows in enumerate(self.once)])


def read(file: Path = DRAWN) -> dict[str, Way]:
    """The sets in "folds" and on a single "holdout"."""
    with np.load(file) as arrays:
        return {way: _way(way, arrays) for way in ("folds", "holdout")}


def expected(outcomes: Numbers, draws: int = DRAWS, seed: int = 0) -> float:
    """What the best of several recipes will score on other frames, by their outcomes [recipes, frames].

    Its own mean also says how lucky it was with these frames, or it had not been picked. So on each resample of the
    frames the best is picked anew, and scored on the frames that are not in the resample (the bootstrap bias corrected
    cross-validation of Tsamardinos, Greasidou and Borboudakis 2018, Machine Learning 107). If all recipes are equally
    good it is right on average; else it is a little low, for resamples pick worse than all frames do."""
    frames = outcomes.shape[1]
    counts = np.random.default_rng(seed).multinomial(frames, np.full(frames, 1 / frames), draws)
    counts = counts[(counts == 0).any(1)]
    if not len(counts):
        return float(outcomes.mean(1).max())
    out = counts == 0
    best = outcomes[(counts @ outcomes.T).argmax(1)]
    return float(((best * out).sum(1) / out.sum(1)).mean())


@dataclass(frozen=True, slots=True)
class Calibration:
    """Of reports [sets, n] of n recipes each, against the truth."""

    optimism: Numbers  # [sets, n]
    covered: NDArray[np.bool_]  # [sets, n]
    halves: Numbers  # [sets, n]

    @property
    def bias(self) -> tuple[float, float]:
        """The mean optimism and its standard error over the sets."""
        each = self.optimism.mean(1)
        return float(each.mean()), float(each.std(ddof=1) / len(each) ** 0.5)

    @property
    def coverage(self) -> tuple[float, float, float]:
        """The share of intervals that cover, and its 95% interval: of one report a set Wilson's, of several by the
        standard error over the sets."""
        share = float(self.covered.mean())
        if self.covered.shape[1] == 1:
            interval = binomtest(int(self.covered.sum()), len(self.covered)).proportion_ci(method="wilson")
            return share, float(interval.low), float(interval.high)
        half = 1.96 * float(self.covered.mean(1).std(ddof=1)) / len(self.covered) ** 0.5
        return share, share - half, min(share + half, 1.0)

    def __str__(self) -> str:
        (bias, error), (share, low, high) = self.bias, self.coverage
        return f"{bias:+.4f} ± {error:.4f}   {share:6.1%} ({low:.1%} to {high:.1%})   ±{self.halves.mean():.3f}"


def calibrate(reported: Numbers, true: Numbers, halves: Numbers) -> Calibration:
    """All of them [sets, n]."""
    return Calibration(reported - true, np.abs(reported - true) <= halves, halves)


def calibrations(way: Way) -> dict[str, Calibration]:
    """Of a recipe fixed beforehand, and of the one that is picked as the best."""
    best, (scores, true, halves) = way.best, (way.scores, way.true, way.halves)
    picked_true, picked_halves = np.take_along_axis(true, best, 1), np.take_along_axis(halves, best, 1)
    return {
        "fixed: the baseline": calibrate(scores[:, :1], true[:, :1], halves[:, :1]),
        "fixed: each recipe": calibrate(scores, true, halves),
        "best, as reported": calibrate(scores.max(1, keepdims=True), picked_true, picked_halves),
        "best, corrected": calibrate(way.corrected, picked_true, picked_halves),
    }


def with_seeds(way: Way) -> dict[str, Calibration]:
    """Where two recipes were trained with three seeds: of these, and of those that were trained once.

    A recipe's truth is the mean over its seeds. One of them is that of the very models that were scored."""
    several = [recipe for recipe in range(way.once.shape[1]) if len(way.runs(recipe)) > 1]
    alone = [recipe for recipe in range(way.once.shape[1]) if recipe not in several]
    scores, true = (
        np.stack([values[:, way.runs(recipe)].mean(1) for recipe in several], axis=1)
        for values in (way.outcomes.mean(2), way.truth)
    )
    others = np.stack([way.truth[:, way.runs(recipe)[1:]].mean(1) for recipe in several], axis=1)
    halves = way.halves_with_seeds
    return {
        "three seeds": calibrate(scores, true, halves[:, several]),
        "one seed beside them": calibrate(way.scores[:, alone], way.true[:, alone], halves[:, alone]),
        "one seed, two others' truth": calibrate(way.scores[:, several], others, way.halves[:, several]),
    }


def _way(way: str, arrays: dict[str, NDArray[np.generic]]) -> Way:
    iou, names = arrays[f"{way}_iou"] / np.float64(255), arrays["runs"].tolist()
    right = np.unpackbits(arrays[f"{way}_right"], axis=-1, count=iou.shape[-1])
    return Way((iou + right) / 2, arrays[f"{way}_true"].astype(np.float64).mean((2, 3)), names)


def _noise(rows: Numbers) -> Noise:
    return Noise({number: [row] for number, row in enumerate(rows)}, DRAWS)


def _half(noise: Noise, key: int) -> float:
    """The wider side: the other may have been cut at 0 or 1."""
    estimate = noise.score(key)
    return max(estimate.high - estimate.value, estimate.value - estimate.low)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--file", type=Path, default=DRAWN)
    for name, way in read(parser.parse_args().file).items():
        sets, recipes, frames = way.once.shape
        print(f"{name}: {sets} sets, {recipes} recipes, {frames} frames held out{'optimism':>20}{'covers':>14}")
        for what, row in (calibrations(way) | with_seeds(way)).items():
            print(f"  {what:<28}{row}")


if __name__ == "__main__":
    main()
