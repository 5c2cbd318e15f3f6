"""What a trial keeps, written and read in one place.

User attributes are small scalars: a dashboard shows each on a line that is never folded. What is long is a system
attribute. Older studies have long ones and dictionaries as user attributes, and are read all the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from optuna.trial import BaseTrial, FixedTrial, FrozenTrial, Trial

RECIPE = "milair:recipe"  # as JSON: what was trained
OUTPUTS = "milair:outputs"  # a row for each validation frame of the session
CURVES = "milair:curves"  # "train" and "val": each metric, epoch by epoch
ERROR = "milair:error"  # why it failed, or did not train; empty: an earlier attempt's, which counts no more
REFERENCE = "milair:reference"  # the JSON of a recipe that the space does not give
_OLDER = {RECIPE: "recipe", OUTPUTS: "answers", CURVES: "curves", ERROR: "error", REFERENCE: "reference"}  # user's
_FLAT = {  # names of scalars, by those of the dictionaries in which older studies keep them
    "parameters": {"total": "parameters", "trainable": "trained", "MB": "size_MB"},
    "device": {"name": "device", "threads": "threads"},
    "memory": {"ram_MB": "ram_MB", "vram_MB": "vram_MB"},
}

Outputs = Sequence[Sequence[float | None]]  # the class's number, its probability, the box in shares; empty: none yet
Curves = Mapping[str, Mapping[str, Sequence[float | None]]]


def keep(
    trial: BaseTrial,
    *,
    recipe: Mapping[str, Any] | None = None,
    outputs: Outputs | None = None,
    curves: Curves | None = None,
    error: str | None = None,
) -> None:
    """Write what a running trial trains, or has come to so far; what was kept before is replaced. None: as it was."""
    for name, value in ((RECIPE, recipe), (OUTPUTS, outputs), (CURVES, curves), (ERROR, error)):
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


def error(trial: FrozenTrial) -> str:
    """Why a trial failed, or did not train; empty if it did neither."""
    return str(_read(trial, ERROR) or "")


def reference(trial: BaseTrial) -> dict[str, Any] | None:
    """The JSON of the recipe that a trial is to train, where that is none of its space's."""
    read: dict[str, Any] | None = _read(trial, REFERENCE)
    return read


def scalars(trial: FrozenTrial) -> dict[str, Any]:
    """A trial's user attributes that are small, by the names that they have now."""
    flat = {name: value for name, value in trial.user_attrs.items() if name not in _OLDER.values()}
    for name, names in _FLAT.items():
        if isinstance(of := flat.get(name), dict):
            del flat[name]
            flat |= {names[key]: value for key, value in of.items()}
    return flat


def long(trial: FrozenTrial) -> dict[str, Any]:
    """All that is long of a trial, by the names that it has now."""
    return {name: value for name in _OLDER if (value := _read(trial, name)) is not None}


def _read(trial: BaseTrial, name: str) -> Any:
    of = trial._cached_frozen_trial if isinstance(trial, Trial) else trial
    assert isinstance(of, FixedTrial | FrozenTrial)
    return of._system_attrs[name] if name in of._system_attrs else of.user_attrs.get(_OLDER[name])
