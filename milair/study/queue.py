"""Who runs which trial, and how a trial comes back from those who cannot finish it.

A trial is WAITING, then RUNNING, then finished. It is drawn, told and given back under the one lock of its study, by
a worker whose name stands on it from before it runs: so totals are exact, no two workers draw the same trial, and
whoever looks next can tell that a trial's worker is dead.
"""

from __future__ import annotations

import math
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

import optuna
import psutil
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from milair.errors import MilairError, OutsideError, first_line, what_failed
from milair.study import storage

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
DEATHS = 3  # workers that may die with a trial before it counts as failed
_PAUSE = 0.3  # seconds between looks while others run the last trials
_SAME = 2  # seconds by which a process's start may seem to move, as the clock is set
_UNSIGNED = 60  # seconds after which a running trial that no worker of ours has signed counts as left behind

Parameters = dict[str, Any]


@dataclass(frozen=True)
class Draw:
    """How trials are drawn, and until when."""

    goal: int  # finished trials in all
    deadline: float = math.inf  # of time.monotonic: no trial begins later
    configurations: int | None = None  # in the space; None: without end
    next_point: Callable[[list[Parameters]], Parameters] = lambda _: {}  # what to fix, given all that was drawn
    prepare: Callable[[optuna.Trial], object] = lambda _: None  # parameters are drawn under the lock


def run(
    study: optuna.Study,
    objective: Callable[[optuna.Trial], float],
    draw: Draw,
    *,
    at_most: int = sys.maxsize,
    ended: Callable[[FrozenTrial], None] = lambda _: None,
) -> str:
    """Draw trials and run them, `at_most` so many here. Returns what ended it: "goal", "exhausted", "time" or "share".

    A trial that is interrupted goes back to the queue as it was. One that fails keeps its reason. Trouble outside of
    trials (a full disk, a picture that vanished) is an OutsideError, and the trial that met it waits with that reason.
    """
    try:
        for _ in range(at_most):
            trial = _draw(study, draw)
            if isinstance(trial, str):
                return trial
            with _beating(study, trial):
                told = _run(study, trial, objective)
            if told:
                ended(storage.of(study).get_trial(trial._trial_id))
        return "share"
    except (StorageInternalError, SQLAlchemyError) as error:
        raise OutsideError(f"the database of studies: {storage.reason(error)}") from error
    finally:
        with suppress(Exception):  # where even that fails, the next start sees that this process is gone
            give_back(study)


def _draw(study: optuna.Study, draw: Draw) -> optuna.Trial | str:
    """The next trial, signed by this worker and with its parameters; else why there is none."""
    while monotonic() < draw.deadline:
        with storage.alone(study):
            reclaim(study)
            trials = study.get_trials(deepcopy=False)
            finished = sum(trial.state in FINISHED for trial in trials)
            running = sum(trial.state == TrialState.RUNNING for trial in trials)
            waiting = [trial for trial in trials if trial.state == TrialState.WAITING]
            drawn = [trial.params for trial in trials if trial.state != TrialState.WAITING]
            exhausted = not waiting and draw.configurations is not None and _distinct(drawn) >= draw.configurations
            if finished >= draw.goal or (exhausted and not running):
                return "goal" if finished >= draw.goal else "exhausted"
            if finished + running < draw.goal and not exhausted:
                if not waiting:
                    study.enqueue_trial(draw.next_point(drawn))
                    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
                if (claimed := _claim(study, waiting[0], draw.prepare)) is not None:
                    return claimed
        sleep(_PAUSE)  # others run the last trials, and may not finish them
    return "time"


def _claim(study: optuna.Study, trial: FrozenTrial, prepare: Callable[[optuna.Trial], object]) -> optuna.Trial | None:
    """A waiting trial as this worker's, signed while it still waits; None if another program was quicker."""
    base = storage.of(study)
    base.set_trial_user_attr(trial._trial_id, "worker", worker())
    if trial.user_attrs.get("error"):  # of an earlier attempt
        base.set_trial_user_attr(trial._trial_id, "error", None)
    base.record_heartbeat(trial._trial_id)
    if not base.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
        return None
    claimed = optuna.Trial(study, trial._trial_id)
    with suppress(Exception):  # it fails again, and is told, when it runs
        prepare(claimed)
    return claimed


def _run(study: optuna.Study, trial: optuna.Trial, objective: Callable[[optuna.Trial], float]) -> bool:
    """Train a trial and finish it. False if it is no longer this worker's."""
    try:
        value = objective(trial)
        if not math.isfinite(value):
            raise ArithmeticError("its score is not a number")
    except optuna.TrialPruned:
        return _tell(study, trial, TrialState.PRUNED)
    except (BrokenPipeError, StorageInternalError, SQLAlchemyError):
        raise  # nobody listens, or nothing can be written
    except (OSError, OutsideError) as error:
        reason = what_failed(error) if isinstance(error, OSError) else str(error)
        trial.set_user_attr("error", reason)
        raise OutsideError(reason) from error
    except Exception as error:
        reason = str(error) if isinstance(error, MilairError) else f"{type(error).__name__}: {first_line(error)}"
        return _tell(study, trial, TrialState.FAIL, reason=reason)
    return _tell(study, trial, TrialState.COMPLETE, value)


def _tell(
    study: optuna.Study, trial: optuna.Trial, state: TrialState, value: float | None = None, reason: str | None = None
) -> bool:
    """Finish a trial, unless others took this worker for dead and the trial is theirs now."""
    with storage.alone(study):
        now = storage.of(study).get_trial(trial._trial_id)
        if now.state != TrialState.RUNNING or now.user_attrs.get("worker") != worker():
            return False
        if reason is not None:
            trial.set_user_attr("error", reason)
        study.tell(trial, value, state)
        return True


def give_back(study: optuna.Study) -> None:
    """Put this worker's running trial back into the queue as it was."""
    with storage.alone(study):
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if trial.user_attrs.get("worker") == worker():
                storage.of(study).set_trial_state_values(trial._trial_id, TrialState.WAITING)


def reclaim(study: optuna.Study, *, blame: bool = True) -> list[int]:
    """Put the trials of dead workers back into the queue; the caller holds the study's lock.

    A trial with which `DEATHS` workers died fails instead, unless nobody is to blame."""
    base, left = storage.of(study), left_behind(study)
    for trial in left:
        deaths = trial.user_attrs.get("deaths", 0) + blame
        base.set_trial_user_attr(trial._trial_id, "deaths", deaths)
        if deaths < DEATHS:
            base.set_trial_state_values(trial._trial_id, TrialState.WAITING)
        else:
            base.set_trial_user_attr(trial._trial_id, "error", f"{deaths} workers died with it")
            base.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    return [trial.number for trial in left]


def left_behind(study: optuna.Study) -> list[FrozenTrial]:
    """Running trials whose workers are dead, as far as can be told from here."""
    silent = storage.of(study)._get_stale_trial_ids(study._study_id)
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial for trial in running if _is_dead(trial, trial._trial_id in silent)]


@cache
def _worker(pid: int) -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": pid, "started": psutil.Process(pid).create_time()}


def worker() -> dict[str, Any]:
    """This process, so that others can tell later whether it is still alive."""
    return _worker(os.getpid())


def _is_dead(trial: FrozenTrial, silent: bool) -> bool:
    signed = trial.user_attrs.get("worker")
    if signed is None:  # drawn by another program
        began = trial.datetime_start
        return began is None or (datetime.now() - began).total_seconds() > _UNSIGNED
    return not lives(signed) if signed["host"] == socket.gethostname() else silent


def lives(signed: dict[str, Any]) -> bool:
    """Whether the process that signed so runs on this host."""
    try:
        process = psutil.Process(signed["pid"])
        same = abs(process.create_time() - signed["started"]) <= _SAME
        return signed["host"] == socket.gethostname() and same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def _beating(study: optuna.Study, trial: optuna.Trial) -> Iterator[None]:
    """Signs of life for workers of other hosts, who cannot see this process."""
    over = Event()

    def beat() -> None:
        while not over.wait(storage.BEAT):
            with suppress(StorageInternalError, SQLAlchemyError):  # a busy database must not end the beating
                storage.of(study).record_heartbeat(trial._trial_id)

    thread = Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=1)


def _distinct(drawn: list[Parameters]) -> int:
    return len({repr(sorted(parameters.items())) for parameters in drawn})
