"""The configurations of a study: trials whose recipes differ in their seeds only are trainings of one arm."""

import json
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from milair.recipe import Recipe
from milair.training.noise import Noise
from milair.training.paired import Numbers, Truth

OUTPUTS = "answers"  # trial attribute that holds a row of outputs for each validation frame
CONFIRMS = "confirms"  # of a trial that trains again what may be the best
_DEFAULTS = Recipe().to_json()


@dataclass(frozen=True)
class Arm:
    """A configuration and its complete trials, in their order."""

    configuration: str
    trials: Sequence[FrozenTrial]

    @property
    def confirmed(self) -> bool:
        """Whether it was trained again because it may be the best."""
        return any(CONFIRMS in trial.user_attrs for trial in self.trials)

    @property
    def score(self) -> float:
        """The mean over its trials."""
        return sum(trial.value or 0.0 for trial in self.trials) / len(self.trials)

    def frames(self, truth: Truth) -> Numbers:
        """The score of each validation frame, the mean over its trials: [frames]."""
        mean: Numbers = np.mean([scores(trial, truth) for trial in self.trials], axis=0)
        return mean


def arms(trials: Iterable[FrozenTrial]) -> list[Arm]:
    """Of complete trials that milair trained: those that were confirmed first, and of these the best mean."""
    groups: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        if trial.state == TrialState.COMPLETE and "recipe" in trial.user_attrs:
            groups.setdefault(configuration(trial), []).append(trial)
    each = [Arm(configuration, trials) for configuration, trials in groups.items()]
    return sorted(each, key=lambda arm: (not arm.confirmed, -arm.score, arm.trials[0].number))


def noise(arms: Iterable[Arm], truth: Truth) -> Noise:
    """Of arms by their configurations, over the trials that kept their outputs; those of the first versions did not."""
    kept = {arm.configuration: [trial for trial in arm.trials if trial.user_attrs.get(OUTPUTS)] for arm in arms}
    return Noise({name: [scores(trial, truth) for trial in trials] for name, trials in kept.items()})


def scores(trial: FrozenTrial, truth: Truth) -> Numbers:
    """Of a trial on each validation frame, 0 to 1: [frames]; NaN where it has no outputs, or has not yet."""
    rows = trial.user_attrs.get(OUTPUTS) or [[]] * len(truth.labels)
    frames: Numbers = truth.outcomes(rows).mean(1)
    return frames


def configuration(trial: FrozenTrial) -> str:
    """A trial's recipe without its seed: as JSON, for all trials are asked at every draw."""
    return json.dumps(_DEFAULTS | trial.user_attrs["recipe"] | {"seed": 0}, sort_keys=True)


class _Seen:
    """A storage whose trials are seen through a function."""

    def __init__(self, inner: BaseStorage, change: Callable[[list[FrozenTrial]], list[FrozenTrial]]) -> None:
        self.inner, self.change = inner, change

    def get_all_trials(self, *given: Any, **named: Any) -> list[FrozenTrial]:
        return self.change(self.inner.get_all_trials(*given, **named))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def seen(study: optuna.Study, change: Callable[[list[FrozenTrial]], list[FrozenTrial]]) -> optuna.Study:
    """A study whose trials are seen through a function; what is stored stays."""
    view = copy(study)
    view._storage = cast(BaseStorage, _Seen(study._storage, change))
    return view


def means(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """The same trials, those of an arm each with its mean: what a sampler is to see, not the lucky ones."""
    mean = {trial._trial_id: arm.score for arm in arms(trials) if len(arm.trials) > 1 for trial in arm.trials}
    return [_valued(trial, mean[trial._trial_id]) if trial._trial_id in mean else trial for trial in trials]


def _valued(trial: FrozenTrial, value: float) -> FrozenTrial:
    other = copy(trial)
    other.value = value
    return other
