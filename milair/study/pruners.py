"""Pruners by name. A trial is compared only with those whose steps mean the same as its own.

Steps of a constant learning rate are passes over the data, those of a schedule are percent of it.
"""

from collections.abc import Callable
from copy import copy
from typing import Any, cast

import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from milair.errors import UsageError
from milair.recipe import Recipe

# Reports come every so many steps, at that round number: recipes with other numbers of views or epochs meet there.
RUNG = 10
SAFE = 20  # percent of a schedule
_DEFAULTS = Recipe().to_json()

PRUNERS: dict[str, Callable[[int, int], BasePruner]] = {  # from the steps that are safe, and those of a whole training
    "median": lambda safe, _: MedianPruner(n_startup_trials=4, n_warmup_steps=safe, interval_steps=1),
    "asha": lambda safe, _: SuccessiveHalvingPruner(min_resource=safe, reduction_factor=3),
    "hyperband": lambda safe, steps: HyperbandPruner(
        min_resource=safe, max_resource=max(steps, safe), reduction_factor=3
    ),
    "none": lambda *_: NopPruner(),
}


def pruner(name: str, passes: int) -> BasePruner:
    """The pruner of that name, for trainings of at most so many passes. UsageError if there is none."""
    if name not in PRUNERS:
        raise UsageError(f"--pruner {name}: there is no such pruner; there are {', '.join(PRUNERS)}")
    safe = max(passes // 20, RUNG)  # the document's 200 epochs of six views: the first ten are safe
    return AmongPeers(PRUNERS[name](safe, passes), PRUNERS[name](SAFE, 100))


class AmongPeers(BasePruner):
    """Optuna's pruners, one for constant learning rates and one for schedules: each sees the trials of its own kind."""

    def __init__(self, constant: BasePruner, scheduled: BasePruner) -> None:
        self.constant, self.scheduled = constant, scheduled

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        kind, peers = _kind(trial), copy(study)
        peers._storage = cast(BaseStorage, _Peers(study._storage, kind))
        return (self.scheduled if kind[0] else self.constant).prune(peers, trial)


class _Peers:
    """A storage that shows the trials of one kind. A study's own view would not do: Hyperband makes another of it."""

    def __init__(self, storage: BaseStorage, kind: tuple[bool, int]) -> None:
        self.storage, self.kind = storage, kind

    def get_all_trials(self, *given: Any, **named: Any) -> list[FrozenTrial]:
        return [trial for trial in self.storage.get_all_trials(*given, **named) if _kind(trial) == self.kind]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.storage, name)


def _kind(trial: FrozenTrial) -> tuple[bool, int]:
    """Whether a trial has a schedule, and its looks: with the second one, scores begin anew."""
    recipe = _DEFAULTS | trial.user_attrs.get("recipe", {})  # as JSON: all trials are asked at every report
    return recipe["schedule"] != "constant", recipe["looks"]
