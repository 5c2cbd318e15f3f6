"""What a study's trials show: recipes with their seeds, their scores frame by frame, and what can be told apart."""

import statistics
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from optuna.importance import FanovaImportanceEvaluator, PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial

from milair.errors import MilairError
from milair.model import heads
from milair.recipe import Recipe, describe
from milair.study import results
from milair.study.kept import outputs, recipe, trained
from milair.training.noise import Estimate, Noise, Numbers
from milair.training.paired import Truth


class Evidence:
    """A study's complete trainings, by recipe; a recipe's trainings differ in their seeds only.

    `session` is an opened study: its settings, frames, space and study. MilairError if no trial is complete."""

    level = 0.95  # of all intervals of a report

    def __init__(self, session: Any) -> None:
        self.study, self.space, self.settings = session.study, session.space, session.settings
        self.splits, self.validation = session.splits(), session.validation
        self.name: str = self.study.study_name
        self.classes: tuple[str, ...] = session.frames.classes
        self.finished, arms = results.finished(self.study), results.ranked(self.study)
        self.complete = [trial for arm in arms for trial in arm.trials]
        self.trials: dict[Recipe, Sequence[FrozenTrial]] = {
            replace(Recipe.from_json(trained(arm.trials[0])), seed=0): arm.trials for arm in arms
        }
        if not self.complete:
            raise MilairError(results.why_none(self.study))

    def key(self, recipe: Recipe) -> Recipe:
        """The recipe as this study trains it, by which its trainings are found."""
        return replace(recipe.override(self.settings.overrides), seed=0)

    def size(self, recipe: Recipe) -> heads.Size:
        return heads.size(recipe, len(self.classes))

    def what(self, recipe: Recipe, known: dict[str, Any] | None = None) -> str:
        """A recipe in words: what its space varies, less the parameters that are known."""
        trial = self.trials[recipe][0]
        parameters = {name: value for name, value in trial.params.items() if name not in (known or {})}
        return describe(trained(trial), parameters)

    def mean(self, recipe: Recipe, name: str) -> float:
        """Of "score", or of a number that its trials keep, the mean over a recipe's seeds."""
        trials = self.trials[recipe]
        return statistics.mean((trial.value or 0.0) if name == "score" else trial.user_attrs[name] for trial in trials)

    def over_seeds(self, recipe: Recipe) -> str:
        """The mean score, and the standard deviation where there are several seeds: "0.7849 ± 0.024"."""
        scores = [trial.value or 0.0 for trial in self.trials[recipe]]
        spread = f" ± {statistics.stdev(scores):.3f}" if len(scores) > 1 else ""
        return f"{statistics.mean(scores):.4f}{spread}"

    @cached_property
    def best(self) -> Recipe:
        """The recipe with the best mean over its seeds; of those that were confirmed, if any were."""
        return next(iter(self.trials))

    @cached_property
    def noise(self) -> Noise:
        """Over the trainings that kept their predictions; those of the first versions did not."""
        return Noise(
            {
                recipe: [self.outcome(trial).mean(1) for trial in trials if outputs(trial)]
                for recipe, trials in self.trials.items()
            }
        )

    @cached_property
    def rivals(self) -> list[Recipe]:
        """The recipes among which the best one is, with the report's level."""
        return self.noise.rivals(self.level)

    def outcome(self, trial: FrozenTrial) -> Numbers:
        """Of each validation frame the predicted box's IoU, and 1 where the predicted class is right: [frames, 2]."""
        return Truth.of(self.validation, self.classes).outcomes(outputs(trial))

    def less_best(self, other: "Evidence") -> Estimate | None:
        """Our best score less the other study's, on the same frames; None if predictions were not kept.

        Both bests were picked. So the interval is one of those that hold together for all pairs of a recipe of ours
        and one of theirs. A recipe that both trained may have been trained differently: it counts as two."""
        sides = self.noise.outcomes, other.noise.outcomes
        pairs = [((0, mine), (1, theirs)) for mine in sides[0] for theirs in sides[1]]
        if (best := ((0, self.best), (1, other.best))) not in pairs:
            return None
        noise = Noise({(side, recipe): list(runs) for side in (0, 1) for recipe, runs in sides[side].items()})
        return noise.differences(pairs, self.level)[pairs.index(best)]

    def importances(self) -> tuple[dict[str, float], dict[str, float]]:
        """By fANOVA, of the parameters that all complete trials have, and by PED-ANOVA; shares of 1.

        Empty where neither score nor values differ: then there is nothing to share out."""
        shares: list[dict[str, float]] = [{}, {}]
        for number, evaluator in enumerate((FanovaImportanceEvaluator(seed=0), PedAnovaImportanceEvaluator())):
            with warnings.catch_warnings(action="ignore"), suppress(ValueError, RuntimeError):
                shares[number] = get_param_importances(self.study, evaluator=evaluator)
        return shares[0], shares[1]

    def progress(self) -> tuple[list[float], list[float]]:
        """Trial by trial in their order: passes over the data so far, and the best complete score so far."""
        kept = [(trial.user_attrs, recipe(trial) or {}) for trial in self.finished]
        epochs = [attrs.get("epochs", 0) * attrs.get("folds", 1) for attrs, _ in kept]
        passes = [n * of.get("augmentations", 0) for n, (_, of) in zip(epochs, kept, strict=True)]
        ranked = {trial.number for trial in self.complete}
        scores = [(trial.value or 0.0) * (trial.number in ranked) for trial in self.finished]
        return np.cumsum(passes).tolist(), np.maximum.accumulate(scores).tolist()

    def seconds(self) -> float:
        return float(sum(trial.user_attrs.get("seconds", 0.0) for trial in self.finished))
