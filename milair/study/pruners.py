"""Pruners by name. A trial is compared only with those whose steps mean the same as its own.

Steps of a constant learning rate are passes over the data, those of a schedule are percent of it, and by folds they are
the folds that have ended.
"""

from collections.abc import Callable

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.trial import FrozenTrial

from milair.errors import UsageError
from milair.frames import MOST_FOLDS
from milair.recipe import Recipe
from milair.study import PAIRED
from milair.study.arms import arms, scores, seen
from milair.training.paired import Truth, chance_not_worse

# Reports come every so many steps, at that round number: recipes with other numbers of views or epochs meet there.
RUNG = 10
SAFE = 20  # percent of a schedule
LEVEL = 0.05  # of the paired test
_DEFAULTS = Recipe().to_json()

PRUNERS: dict[str, Callable[[int, int], BasePruner]] = {  # from the steps that are safe, and those of a whole training
    "median": lambda safe, _: MedianPruner(n_startup_trials=4, n_warmup_steps=safe, interval_steps=1),
    "asha": lambda safe, _: SuccessiveHalvingPruner(min_resource=safe, reduction_factor=3),
    "hyperband": lambda safe, steps: HyperbandPruner(
        min_resource=safe, max_resource=max(steps, safe), reduction_factor=3
    ),
    PAIRED: lambda *_: NopPruner(),  # see `pruner`
    "none": lambda *_: NopPruner(),
}


def pruner(name: str | None, passes: int, folds: Truth | None = None) -> BasePruner:
    """The pruner of that name, for trainings of at most so many passes, or for folds of frames with that truth.

    None: the default. UsageError if there is none of that name, or if it is for folds and there are none."""
    name = name or (next(iter(PRUNERS)) if folds is None else PAIRED)
    if name not in PRUNERS:
        raise UsageError(f"--pruner {name}: there is no such pruner; there are {', '.join(PRUNERS)}")
    if folds is not None:  # their steps mean the same for all trials
        return Paired(folds) if name == PAIRED else PRUNERS[name](1, MOST_FOLDS)
    if name == PAIRED:
        raise UsageError(f"--pruner {name} compares after each fold; it needs --split folds:5, say")
    safe = max(passes // 20, RUNG)  # the document's 200 epochs of six views: the first ten are safe
    return AmongPeers(PRUNERS[name](safe, passes), PRUNERS[name](SAFE, 100))


class Paired(BasePruner):
    """Prunes a trial of folds that is worse than the best arm so far on the frames that both were scored on.

    It is worse if chance makes it so in less than `level` of cases: see `paired.chance_not_worse`."""

    def __init__(self, truth: Truth, level: float = LEVEL) -> None:
        self.truth, self.level = truth, level

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        others = [other for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        best = next(iter(arms(others)), None)
        if best is None:
            return False
        return chance_not_worse(scores(trial, self.truth), best.frames(self.truth)) < self.level


class AmongPeers(BasePruner):
    """Optuna's pruners, one for constant learning rates and one for schedules: each sees the trials of its own kind."""

    def __init__(self, constant: BasePruner, scheduled: BasePruner) -> None:
        self.constant, self.scheduled = constant, scheduled

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        kind = _kind(trial)
        peers = seen(study, lambda trials: [other for other in trials if _kind(other) == kind])
        return (self.scheduled if kind[0] else self.constant).prune(peers, trial)


def _kind(trial: FrozenTrial) -> tuple[bool, int]:
    """Whether a trial has a schedule, and its looks: with the second one, scores begin anew."""
    recipe = _DEFAULTS | trial.user_attrs.get("recipe", {})  # as JSON: all trials are asked at every report
    return recipe["schedule"] != "constant", recipe["looks"]
