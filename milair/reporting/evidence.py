"""What a study's trials show: recipes with their seeds, their scores frame by frame, and what can be told apart."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import optuna
import torch
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial

from milair.errors import MilairError
from milair.frames.frame import Split
from milair.recipe import Recipe, describe
from milair.runs import Claim, Run
from milair.space import Space
from milair.study import results as study
from milair.training import metrics
from milair.training.noise import Estimate, Noise, Numbers

LEVEL = 0.95
INTERVAL = f"{LEVEL:.0%} interval"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a study says to a claim. `difference` is None where it does not have two recipes, trained, to compare."""

    claim: Claim
    difference: Estimate | None

    @property
    def word(self) -> str:
        if self.difference is None:
            return "not compared"
        return {1: "better", 0: "not told apart", -1: "worse"}[self.difference.sign]


class Evidence:
    """A study's complete trainings, by recipe; a recipe's trainings differ in their seeds only."""

    def __init__(self, found: optuna.Study, space: Space, split: Split, classes: tuple[str, ...]) -> None:
        self.study, self.space, self.split, self.classes = found, space, split, classes
        self.settings = study.stored_settings(found)
        self.trials: dict[Recipe, list[FrozenTrial]] = defaultdict(list)
        for trial in study.ranked(found):
            self.trials[_seedless(Recipe.from_json(trial.user_attrs["recipe"]))].append(trial)
        if not self.trials:
            raise MilairError(f"study {found.study_name} has no complete trial yet; a search makes some")

    def key(self, run: Run) -> Recipe:
        """The recipe by which the study trains a published run."""
        return _seedless(run.recipe.override(self.settings.overrides))

    def of(self, run: Run) -> list[FrozenTrial]:
        return self.trials.get(self.key(run), [])

    @cached_property
    def best(self) -> Recipe:
        """The recipe with the best mean over its seeds."""
        return max(self.trials, key=lambda recipe: float(np.mean(scores(self.trials[recipe]))))

    @cached_property
    def noise(self) -> Noise:
        """Over the trainings that kept their answers; those of an older milair did not."""
        return Noise({key: rows for key, trials in self.trials.items() if (rows := self._outcomes(trials))})

    @cached_property
    def rivals(self) -> list[Recipe]:
        """The recipes among which the best one is, with LEVEL."""
        return list(self.noise.rivals(LEVEL))

    def less_published(self, recipe: Recipe, score: float) -> Estimate:
        """Our score less a published one, which is a mean of batches' means: ours is taken so too. How much noise that
        has is taken from means over frames, which have a little less."""
        runs = self.noise.outcomes[recipe]
        by_batches = runs * batch_weights(len(self.split.val), recipe.batch_size)
        return self.noise.against(recipe, score + runs.mean() - by_batches.mean())

    def what(self, recipe: Recipe, known: Mapping[str, Any] | None = None) -> str:
        """A recipe by what its space varies, less the parameters that are known."""
        trial = self.trials[recipe][0]
        parameters = {name: value for name, value in trial.params.items() if name not in (known or {})}
        return describe(trial.user_attrs["recipe"], parameters)

    def less_best(self, other: Evidence) -> Estimate | None:
        """Our best score less the other study's, on the same frames; None if answers were not kept.

        Both bests were picked, so the interval is one of those that hold for all pairs of a recipe of ours and one
        of theirs together. What both trained may have been trained differently, and is not taken for one."""
        studies = self, other
        pairs = [(key, rival) for key in self.noise.outcomes for rival in other.noise.outcomes]
        if (best := (self.best, other.best)) not in pairs:
            return None
        noise = Noise({(n, key): list(runs) for n in (0, 1) for key, runs in studies[n].noise.outcomes.items()})
        return noise.differences([((0, key), (1, rival)) for key, rival in pairs])[pairs.index(best)]

    def knows(self, recipe: Recipe) -> bool:
        """Whether its trainings kept their answers, so that intervals can be given."""
        return recipe in self.noise.outcomes

    def _outcomes(self, trials: list[FrozenTrial]) -> list[Numbers]:
        return [self.outcome(trial).mean(1) for trial in trials if "answers" in trial.user_attrs]

    def outcome(self, trial: FrozenTrial) -> Numbers:
        """Of every validation frame, its IoU and whether it was named rightly: [frames, 2]."""
        rows = torch.tensor(trial.user_attrs["answers"], dtype=torch.float64)
        truth = torch.tensor([frame.box for frame in self.split.val], dtype=torch.float64)
        labels = torch.tensor([self.classes.index(frame.label) for frame in self.split.val])
        overlap = metrics.iou(rows[:, 2:], truth)
        return torch.stack([overlap, (rows[:, 0] == labels).double()], dim=1).numpy()

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """On every claim of the space; the intervals of those that can be judged hold together with LEVEL."""
        pairs = [(self.key(claim.better), self.key(claim.worse)) for claim in self.space.claims]
        known = [pair for pair in pairs if self.knows(pair[0]) and self.knows(pair[1]) and pair[0] != pair[1]]
        found = dict(zip(known, self.noise.differences(known, LEVEL), strict=True))
        return [Verdict(claim, found.get(pair)) for claim, pair in zip(self.space.claims, pairs, strict=True)]

    def importances(self) -> tuple[dict[str, float], dict[str, float]]:
        """By fANOVA, of the parameters that all complete trials have, and by PED-ANOVA; shares of 1.

        Empty where neither score nor values differ: then there is nothing to share out."""
        found = []
        for evaluator in (FanovaImportanceEvaluator(seed=0), PedAnovaImportanceEvaluator()):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    found.append(dict(get_param_importances(self.study, evaluator=evaluator)))
                except (ValueError, RuntimeError):
                    found.append({})
        return found[0], found[1]

    def spent(self) -> tuple[list[float], list[float]]:
        """Trial by trial in their order: passes over the data so far, and the best complete score so far."""
        passes, best = 0.0, 0.0
        spent: list[float] = []
        so_far: list[float] = []
        for trial in study.finished(self.study):
            kept = trial.user_attrs
            passes += kept.get("epochs", 0) * kept.get("recipe", {}).get("augmentations", 0)
            if trial.state.name == "COMPLETE":
                best = max(best, trial.value or 0.0)
            spent.append(passes)
            so_far.append(best)
        return spent, so_far

    def seconds(self) -> float:
        return float(sum(trial.user_attrs.get("seconds", 0.0) for trial in study.finished(self.study)))

    def by_batch_size(self) -> Mapping[int, list[FrozenTrial]]:
        found: dict[int, list[FrozenTrial]] = defaultdict(list)
        for recipe, trials in self.trials.items():
            found[recipe.batch_size] += trials
        return dict(sorted(found.items()))


def batch_weights(frames: int, batch_size: int) -> Numbers:
    """What each of so many frames weighs in the mean of their batches' means, as the frames of a smaller last batch
    weigh more; the mean of the weights is 1: [frames]."""
    batches = np.split(np.ones(frames), range(batch_size, frames, batch_size))
    return np.concatenate([batch * frames / (len(batches) * len(batch)) for batch in batches])


def scores(trials: Iterable[FrozenTrial]) -> list[float]:
    return [trial.value or 0.0 for trial in trials]


def _seedless(recipe: Recipe) -> Recipe:
    return replace(recipe, seed=0)
