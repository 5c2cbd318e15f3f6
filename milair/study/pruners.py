"""Pruners by name. A trial is compared only with those whose steps mean the same as its own.

Steps of a constant learning rate are passes over the data, those of a schedule are percent of it. By folds these are
steps of the first fold; then each fold that ends is one more.
"""

from collections.abc import Callable

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.trial import FrozenTrial

from milair.errors import UsageError
from milair.recipe import Recipe
from milair.study import PAIRED, kept
from milair.study.arms import CONFIRMS, arms, as_complete, scores, seen
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
    PAIRED: lambda *_: NopPruner(),
    "none": lambda *_: NopPruner(),
}


def pruner(name: str | None, passes: int, folds: Truth | None = None) -> BasePruner:
    """The pruner of that name, for trainings of at most so many passes; by folds of frames with that truth.

    None: the default. UsageError if there is none of that name, or if it is for folds and there are none."""
    name = name or next(iter(PRUNERS))
    if name not in PRUNERS:
        raise UsageError(f"--pruner {name}: there is no such pruner; there are {', '.join(PRUNERS)}")
    if name == PAIRED and folds is None:
        raise UsageError(f"--pruner {name} compares after each fold; it needs --split folds:5, say")
    safe = max(passes // 20, RUNG)  # the document's 200 epochs of six views: the first ten are safe
    within = AmongPeers(PRUNERS[name](safe, passes), PRUNERS[name](SAFE, 100))
    return within if folds is None or name == "none" else ByFolds(within, folds, first_only=name != PAIRED)


def step(recipe: Recipe, epochs: int) -> int:
    """The last rung in so many epochs of a training: of passes over the data, or of percent of a schedule."""
    done = 100 * epochs // recipe.all_epochs if recipe.scheduled else epochs * recipe.augmentations
    return done // RUNG * RUNG


def first_only(pruner: BasePruner) -> bool:
    """Whether trials end with their first fold."""
    return isinstance(pruner, ByFolds) and pruner.first_only


def confirmations(pruner: BasePruner, trials: int) -> int:
    """How many of so many trials are worth their other folds, by default."""
    return max(trials // 10, 1) if first_only(pruner) else 0


class ByFolds(BasePruner):
    """Prunes within the first fold as another pruner does, and after a fold what is worse than the best arm so far.

    That is held against it on the frames that both were scored on: it is worse if chance makes it so in less than
    `level` of cases (`paired.chance_not_worse`). With `first_only` a trial ends with its first fold, unless it
    confirms another: which ones are worth their other folds is known when all have had their first."""

    def __init__(self, within: BasePruner, truth: Truth, first_only: bool = False, level: float = LEVEL) -> None:
        self.within, self.truth, self.first_only, self.level = within, truth, first_only, level

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        confirms, recipe = CONFIRMS in trial.user_attrs, Recipe.from_json(kept.trained(trial))
        if (trial.last_step or 0) <= step(recipe, recipe.all_epochs):
            return not confirms and self.within.prune(study, trial)
        if self.first_only and not confirms:
            return True
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
        peers = seen(study, lambda trials: [as_complete(other) for other in trials if _kind(other) == kind])
        return (self.scheduled if kind[0] else self.constant).prune(peers, trial)


def _kind(trial: FrozenTrial) -> tuple[bool, int]:
    """Whether a trial has a schedule, and its looks: with the second one, scores begin anew."""
    recipe = kept.recipe(trial) or _DEFAULTS  # as JSON: all trials are asked at every report
    schedule, looks = (recipe.get(name, _DEFAULTS[name]) for name in ("schedule", "looks"))
    return schedule != "constant", looks
