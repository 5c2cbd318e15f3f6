"""Pruners by name, in steps of passes over the data."""

from collections.abc import Callable

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner

from milair.errors import UsageError

# Reports come every so many passes over the data, at that round number: recipes with other numbers of views meet there.
RUNG = 10

PRUNERS: dict[str, Callable[[int, int], BasePruner]] = {  # from the passes that are safe, and those of a whole training
    "median": lambda safe, _: MedianPruner(n_startup_trials=4, n_warmup_steps=safe, interval_steps=1),
    "asha": lambda safe, _: SuccessiveHalvingPruner(min_resource=safe, reduction_factor=3),
    "hyperband": lambda safe, passes: HyperbandPruner(
        min_resource=safe, max_resource=max(passes, safe), reduction_factor=3
    ),
    "none": lambda *_: NopPruner(),
}


def pruner(name: str, passes: int) -> BasePruner:
    """The pruner of that name, for trainings of at most so many passes. UsageError if there is none."""
    if name not in PRUNERS:
        raise UsageError(f"--pruner {name}: there is no such pruner; there are {', '.join(PRUNERS)}")
    safe = max(passes // 20, RUNG)  # the document's 200 epochs of six views: the first ten are safe
    return PRUNERS[name](safe, passes)
