"""Limits: the most parameters that a model may have, the most milliseconds that it may take to predict a frame.

They are Optuna's constraints, stored with each trial by name: the share by which it is over the limit, 0 or less if it
is not. TPE draws fewer such trials, and none of them is ever the best.
"""

from collections.abc import Mapping

from optuna.trial import BaseTrial, FrozenTrial

from milair.errors import UsageError

LIMITS = ("parameters", "ms")


def checked(given: Mapping[str, str | float]) -> dict[str, float]:
    """Limits as numbers. UsageError names one that is none."""
    limits = dict[str, float]()
    for name, value in given.items():
        if name not in LIMITS:
            raise UsageError(f"--limit {name}={value}: there is no limit '{name}'; there are {', '.join(LIMITS)}")
        try:
            limits[name] = float(value)
        except ValueError:
            limits[name] = 0.0
        if not 0 < limits[name] < float("inf"):
            raise UsageError(f"--limit {name}={value}: it must be a number above 0")
    return limits


def shown(limits: Mapping[str, float]) -> str:
    """For people, as they are given: parameters=5000000, ms=30."""
    return ", ".join(f"{name}={limit:.10g}" for name, limit in limits.items())


def constraints(limits: Mapping[str, float], values: Mapping[str, float]) -> dict[str, float]:
    """By which share values are over their limits; those without one are left out."""
    return {name: value / limits[name] - 1 for name, value in values.items() if name in limits}


def within(trial: BaseTrial | FrozenTrial) -> bool:
    """Whether a trial is over no limit of its study."""
    return all(over <= 0 for over in trial.constraints.values())
