"""Recipe, curves and outputs of a trial, written and read in one place.

They are system attributes: a dashboard shows every user attribute in full, and these are long. Older studies have them
as user attributes, and are read all the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import BaseTrial, FixedTrial, FrozenTrial, Trial

RECIPE = "milair:recipe"  # as JSON: what was trained
OUTPUTS = "milair:outputs"  # a row for each validation frame of the session
CURVES = "milair:curves"  # "train" and "val": each metric, epoch by epoch
_OLDER = {RECIPE: "recipe", OUTPUTS: "answers", CURVES: "curves"}  # user attributes

Outputs = Sequence[Sequence[float | None]]  # the class's number, its probability, the box in shares; empty: none yet
Curves = Mapping[str, Mapping[str, Sequence[float | None]]]


def keep(
    trial: BaseTrial,
    *,
    recipe: Mapping[str, Any] | None = None,
    outputs: Outputs | None = None,
    curves: Curves | None = None,
) -> None:
    """Write what a running trial trains, or has come to so far; what was kept before is replaced. None: as it was."""
    for name, value in ((RECIPE, recipe), (OUTPUTS, outputs), (CURVES, curves)):
        if value is None:
            continue
        if isinstance(trial, Trial):
            trial.storage.set_trial_system_attr(trial._trial_id, name, value)
            trial._cached_frozen_trial.system_attrs[name] = value  # pruners are handed this one
        else:
            assert isinstance(trial, FixedTrial | FrozenTrial)
            trial._system_attrs[name] = value


def recipe(trial: FrozenTrial) -> dict[str, Any] | None:
    """The JSON of what a trial trains, or has trained; None if it is not known yet."""
    read: dict[str, Any] | None = _read(trial, RECIPE)
    return read


def trained(trial: FrozenTrial) -> dict[str, Any]:
    """The same of a trial that has begun. KeyError if milair did not train it."""
    if (read := recipe(trial)) is None:
        raise KeyError(RECIPE)
    return read


def outputs(trial: FrozenTrial) -> list[list[float]]:
    """Of each validation frame the class's number, its probability and the box in shares; an empty row where its fold
    is still to come. Empty if the trial kept none, as those of the first versions."""
    return list(_read(trial, OUTPUTS) or [])


def curves(trial: FrozenTrial) -> dict[str, dict[str, list[float | None]]] | None:
    """Of "train" and "val" each metric, epoch by epoch; None if the trial kept none."""
    read: dict[str, dict[str, list[float | None]]] | None = _read(trial, CURVES)
    return read


def _read(trial: FrozenTrial, name: str) -> Any:
    value = trial.system_attrs.get(name)
    return trial.user_attrs.get(_OLDER[name]) if value is None else value
