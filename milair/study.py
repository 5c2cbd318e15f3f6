"""A study: a plain Optuna study that any Optuna tool can open, its queue, and the loop that draws trials from it."""

from __future__ import annotations

import math
import socket
import warnings
from collections.abc import Callable
from datetime import datetime
from time import monotonic

import numpy as np
import optuna
import psutil
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from milair.errors import MilairError, first_line
from milair.recipe import Recipe
from milair.setup import Settings
from milair.space import Space
from milair.trial import PINNED, RUNG

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
SETTINGS = "milair"  # the study attribute that holds its Settings
FAILURES = 3  # in a row, end a search
_UNKNOWN = 60  # seconds after which a running trial without a known process counts as dead


def settings_of(storage: RDBStorage, name: str) -> Settings | None:
    """The settings of the study of that name; None if there is none, or if it was killed while it was being made."""
    if name not in optuna.get_all_study_names(storage):
        return None
    study = optuna.load_study(study_name=name, storage=storage)
    return stored_settings(study) if SETTINGS in study.user_attrs or study.get_trials(deepcopy=False) else None


def stored_settings(study: optuna.Study) -> Settings:
    values = study.user_attrs.get(SETTINGS)
    if values is None:
        raise MilairError(f"study {study.study_name} was not made by milair: it has no settings stored with it")
    return Settings.from_json(values)


def open_or_create(storage: RDBStorage, name: str, space: Space, settings: Settings) -> optuna.Study:
    """The study of that name with these settings; while it has no trials, its baseline waits in the queue."""
    study = optuna.create_study(study_name=name, storage=storage, direction="maximize", load_if_exists=True)
    if study.user_attrs.get(SETTINGS) != settings.to_json():  # new, or its data or weights have moved
        study.set_user_attr(SETTINGS, settings.to_json())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(["score"])  # or the dashboard calls it "Objective 0"
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(space.answers(space.baseline), user_attrs={PINNED: True, "note": "baseline"})
    return study


def sampler(kind: str, seed: int, drawn: int) -> BaseSampler:
    """A sampler whose draws follow from the seed and from how many trials there are, so that a resume repeats none."""
    mixed = int(np.random.SeedSequence([seed, drawn]).generate_state(1)[0])
    if kind == "random":
        return RandomSampler(seed=mixed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(
            n_startup_trials=10,
            n_ei_candidates=24,
            multivariate=True,
            group=True,  # or the parameters of either head type would be drawn independently
            constant_liar=True,
            seed=mixed,
        )


def pruner(kind: str, recipe: Recipe) -> BasePruner:
    """A pruner in steps of passes over the data, for trainings of about this recipe's length."""
    passes = recipe.epochs * recipe.augmentations
    warm_up = max(passes // 20, RUNG)  # the document's 200 epochs of six views: the first ten are safe
    if kind == "none":
        return NopPruner()
    if kind == "asha":
        return SuccessiveHalvingPruner(min_resource=warm_up, reduction_factor=3)
    if kind == "hyperband":
        return HyperbandPruner(min_resource=warm_up, max_resource=max(passes, warm_up), reduction_factor=3)
    return MedianPruner(n_startup_trials=4, n_warmup_steps=warm_up, interval_steps=1)


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Complete and pruned trials, in their order."""
    return study.get_trials(deepcopy=False, states=FINISHED)


def ranked(study: optuna.Study) -> list[FrozenTrial]:
    """Complete trials, the best score first."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(complete, key=lambda trial: (-(trial.value or 0), trial.number))


def run(
    study: optuna.Study,
    objective: Callable[[optuna.Trial], float],
    *,
    trials: int,
    timeout: float | None = None,
    ended: Callable[[FrozenTrial], None] = lambda _: None,
) -> None:
    """Draw trials until `trials` of them are finished in all, or `timeout` seconds are over.

    A trial that is interrupted goes back to the queue as it was. One that fails keeps its reason, and three
    failures in a row end the search with a MilairError.
    """
    reclaim(study)
    deadline = monotonic() + timeout if timeout is not None else None
    failures = 0
    while len(finished(study)) < trials and (deadline is None or monotonic() < deadline):
        trial = study.ask()
        try:
            value = objective(trial)
            if not math.isfinite(value):
                raise ArithmeticError("the training diverged: its score is not a number")
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
            failures = 0
        except (KeyboardInterrupt, BrokenPipeError):
            requeue(study, trial.number)
            raise
        except Exception as error:
            reason = str(error) if isinstance(error, MilairError) else f"{type(error).__name__}: {first_line(error)}"
            trial.set_user_attr("error", reason)
            study.tell(trial, state=TrialState.FAIL)
            failures += 1
            if failures == FAILURES:
                raise MilairError(f"{failures} trials failed in a row, the last with: {reason}") from error
        else:
            study.tell(trial, value)
            failures = 0
        ended(study.get_trials(deepcopy=False)[trial.number])


def reclaim(study: optuna.Study) -> list[int]:
    """Put trials back into the queue that a process of this machine left behind when it died."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    left = [trial.number for trial in running if _is_dead(trial)]
    for number in left:
        requeue(study, number)
    return left


def requeue(study: optuna.Study, number: int) -> None:
    """A running trial as it was before: waiting, with its number and its parameters."""
    trial = study.get_trials(deepcopy=False)[number]
    study._storage.set_trial_state_values(trial._trial_id, TrialState.WAITING)


def _is_dead(trial: FrozenTrial) -> bool:
    worker = trial.user_attrs.get("worker")
    if worker is None:  # it died before it could say who it was, unless it began just now
        began = trial.datetime_start
        return began is None or (datetime.now() - began).total_seconds() > _UNKNOWN
    if worker["host"] != socket.gethostname():
        return False
    try:
        return bool(psutil.Process(worker["pid"]).create_time() != worker["started"])
    except psutil.NoSuchProcess:
        return True
