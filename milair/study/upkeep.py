"""The shelf of studies: rows about them, renaming, deleting, and what searches that died have left."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from milair.errors import MilairError, UsageError
from milair.study import artifacts, lock, queue, storage
from milair.study.results import SETTINGS, state


def studies(database: RDBStorage) -> list[optuna.Study]:
    """All studies of a database."""
    return [optuna.load_study(study_name=name, storage=database) for name in optuna.get_all_study_names(database)]


def row(study: optuna.Study) -> dict[str, Any]:
    """A study in short; None is what cannot be said of it."""
    trials = study.get_trials(deepcopy=False)
    counts = Counter(trial.state.name for trial in trials)
    times = [time for trial in trials for time in (trial.datetime_start, trial.datetime_complete) if time is not None]
    return {
        "study": study.study_name,
        "state": state(study),
        "complete": counts["COMPLETE"],
        "pruned": counts["PRUNED"],
        "failed": counts["FAIL"],
        "waiting": counts["WAITING"],
        "score": best(study),
        "data": study.user_attrs.get(SETTINGS, {}).get("data"),
        "active": max(times).isoformat(" ", "minutes") if times else None,
    }


def best(study: optuna.Study) -> float | None:
    """The best value of a study; None if it has none yet, or several objectives."""
    with suppress(ValueError, RuntimeError):
        return study.best_value
    return None


def rename(study: optuna.Study, new: str) -> None:
    """MilairError if a search runs, or there is a study of that name already."""
    if not new.strip():
        raise UsageError("NEW is empty; a study needs a name")
    if new == study.study_name:
        raise MilairError(f"there is a study {new} already")
    with lock.held(study, "renamed"):
        set_name(study, new)


def set_name(study: optuna.Study, new: str) -> None:
    """The caller holds the study. MilairError if there is a study of that name already."""
    statement = text("UPDATE studies SET study_name = :new WHERE study_id = :id")
    try:
        with storage.of(study).engine.begin() as connection:
            connection.execute(statement, {"new": new, "id": study._study_id})
    except IntegrityError:
        raise MilairError(f"there is a study {new} already") from None


@contextmanager
def deleting(study: optuna.Study, place: Path) -> Iterator[None]:
    """A block after which a study is deleted with all of its trials, and their files in the folder of artifacts.
    MilairError if a search runs.

    The room in SQLite's file is used again by the next trials; the file does not shrink."""
    with lock.held(study, "deleted"):
        yield
        artifacts.remove(place, study)  # first: a study that still stands names what is left
        optuna.delete_study(study_name=study.study_name, storage=storage.of(study))


def put_back(study: optuna.Study, dry_run: bool = False) -> list[int]:
    """Let trials of searches that died wait again; their numbers. None of a study that is searched just now."""
    try:
        with lock.held(study) as hold:
            return queue.put_back(hold, dry_run) if SETTINGS in study.user_attrs else []
    except MilairError:
        return []
