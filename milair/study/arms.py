"""The configurations of a study: trials whose recipes differ in their seeds only are trainings of one arm."""

import json
from collections.abc import Callable, Container, Iterable, Sequence
from copy import copy
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from typing import Any, cast

import numpy as np
import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from milair.recipe import Recipe
from milair.study import kept
from milair.training.noise import Estimate, Noise
from milair.training.paired import Numbers, Truth

ARM = "arm"  # of a trial: its arm, see `arm_of`
CONFIRMS = "confirms"  # of a trial that trains again what may be the best
FOLDS = "folds"  # of a trial by folds: how many of them have ended


@dataclass(frozen=True)
class Arm:
    """A configuration and its trials, in their order: the complete ones, or `begun` ones if it has none."""

    configuration: str  # see `arm_of`
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
        """The score of each validation frame, the mean over the trials that were scored on it: [frames]; else NaN."""
        each = np.stack([scores(trial, truth) for trial in self.trials])
        with np.errstate(invalid="ignore"):
            mean: Numbers = np.nansum(each, axis=0) / (~np.isnan(each)).sum(0)
        return mean


def arms(trials: Iterable[FrozenTrial]) -> list[Arm]:
    """Of complete trials that milair trained: those that were confirmed first, and of these the best mean."""
    return sorted(_complete(trials), key=lambda arm: (not arm.confirmed, -arm.score, arm.trials[0].number))


def begun(trials: Iterable[FrozenTrial]) -> list[Arm]:
    """Of trials by folds that have had some of them and were not trained on in all: the best mean first.

    An arm that was to be confirmed, and was worse than the best, is not among them."""
    of = list(trials)
    done = {configuration(trial) for trial in of if trial.state == TrialState.COMPLETE or CONFIRMS in trial.user_attrs}
    arms = _grouped(trial for trial in of if is_begun(trial))
    return sorted((arm for arm in arms if arm.configuration not in done), key=lambda arm: -arm.score)


def is_begun(trial: FrozenTrial) -> bool:
    """Whether a trial was ended after some of its folds."""
    return trial.state == TrialState.PRUNED and trial.user_attrs.get(FOLDS, 0) > 0


def state_name(trial: FrozenTrial) -> str:
    """For people: "complete", "pruned", and "begun" for what was ended after some of its folds."""
    return "begun" if is_begun(trial) else trial.state.name.lower()


def as_complete(trial: FrozenTrial) -> FrozenTrial:
    """A trial as samplers and pruners are to see it: one that has had a fold came to the end that it was to come to."""
    return _changed(trial, state=TrialState.COMPLETE) if is_begun(trial) else trial


def _complete(trials: Iterable[FrozenTrial]) -> list[Arm]:
    return _grouped(trial for trial in trials if trial.state == TrialState.COMPLETE)


def _grouped(trials: Iterable[FrozenTrial]) -> list[Arm]:
    """Those that milair trained."""
    groups: dict[str, list[FrozenTrial]] = {}
    for trial in trials:
        groups.setdefault(configuration(trial), []).append(trial)
    groups.pop("", None)
    return [Arm(configuration, trials) for configuration, trials in groups.items()]


def noise(arms: Iterable[Arm], truth: Truth) -> Noise:
    """Of arms by their configurations, over the trials that kept their outputs; those of the first versions did not."""
    known = {arm.configuration: [trial for trial in arm.trials if kept.outputs(trial)] for arm in arms}
    return Noise({name: [scores(trial, truth) for trial in trials] for name, trials in known.items()})


def expected(ranking: Sequence[Arm], truth: Truth) -> Estimate | None:
    """Of the first of all arms the score to expect of other frames, less its luck, with its 95% interval.

    None if there is none, or its trials kept no outputs."""
    of = noise(ranking, truth)
    return of.expected(ranking[0].configuration) if ranking and ranking[0].configuration in of.outcomes else None


def scores(trial: FrozenTrial, truth: Truth) -> Numbers:
    """Of a trial on each validation frame, 0 to 1: [frames]; NaN where it has no outputs, or has not yet."""
    rows = kept.outputs(trial) or [[]] * len(truth.labels)
    frames: Numbers = truth.outcomes(rows).mean(1)
    return frames


def configuration(trial: FrozenTrial) -> str:
    """Which arm a trial is of; "" if it has no recipe. It is kept with a trial, for all are asked at every draw; older
    ones kept none."""
    known: str | None = trial.user_attrs.get(ARM)
    if known is None:
        recipe = kept.recipe(trial)
        known = arm_of(Recipe.from_json(recipe)) if recipe else ""
    return known


def arm_of(recipe: Recipe) -> str:
    """A hash of a recipe without its seed. Fields at their defaults leave no trace, so one that comes changes none."""
    particular = {name: value for name, value, _ in recipe.differences(replace(Recipe(), seed=recipe.seed))}
    for name in ("cls_head", "reg_head"):
        if head := particular.get(name):
            plain = asdict(type(head)())
            particular[name] = {key: v for key, v in asdict(head).items() if key == "type" or v != plain[key]}
    return sha256(json.dumps(particular, sort_keys=True).encode()).hexdigest()[:12]


class _Seen:
    """A storage whose trials are seen through a function, as they were when they were first asked for."""

    def __init__(self, inner: BaseStorage, change: Callable[[list[FrozenTrial]], list[FrozenTrial]]) -> None:
        self.inner, self.change = inner, change
        self.trials: list[FrozenTrial] | None = None

    def get_all_trials(
        self,
        study_id: int,
        deepcopy: bool = True,  # noqa: ARG002
        states: Container[TrialState] | None = None,
    ) -> list[FrozenTrial]:
        if self.trials is None:
            self.trials = self.change(self.inner.get_all_trials(study_id, deepcopy=False))
        return [trial for trial in self.trials if states is None or trial.state in states]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def seen(study: optuna.Study, change: Callable[[list[FrozenTrial]], list[FrozenTrial]]) -> optuna.Study:
    """A study whose trials are seen through a function, for one draw or one judgement; what is stored stays."""
    view = copy(study)
    view._storage = cast(BaseStorage, _Seen(study._storage, change))
    return view


def means(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """The same trials, those of an arm each with its mean: what a sampler is to see, not the lucky ones."""
    mean = {trial._trial_id: arm.score for arm in _complete(trials) if len(arm.trials) > 1 for trial in arm.trials}
    whole = [as_complete(trial) for trial in trials]
    return [_changed(one, value=mean[one._trial_id]) if one._trial_id in mean else one for one in whole]


def _changed(trial: FrozenTrial, **values: Any) -> FrozenTrial:
    other = copy(trial)
    for name, value in values.items():
        setattr(other, name, value)
    return other
