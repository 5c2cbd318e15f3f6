"""Files that a dashboard shows with a trial, in one folder for all studies of a database.

A file's name follows from its study, its trial and its kind: a trial that runs again replaces what an interrupted run
has left, and nothing is ever an orphan. Deleting a study deletes its files.
"""

import json
from dataclasses import asdict
from pathlib import Path
from uuid import UUID, uuid4, uuid5

import optuna
from optuna.artifacts import ArtifactMeta
from optuna.storages import RDBStorage

from milair.study import storage

PREFIX = "artifacts:"  # of the system attributes by which Optuna and its dashboard find files
TOKEN = "milair:artifacts"  # of a study: what its files are named after, whatever the study is called


def folder(studies: Path) -> Path:
    """Where the files of the studies in a folder lie: what `optuna-dashboard --artifact-dir` takes."""
    return studies / "artifacts"


def keep(place: Path, trial: optuna.Trial, name: str, mimetype: str, content: bytes) -> None:
    """Write a file of a running trial, or replace it. OSError if the disk does not take it."""
    identity = str(uuid5(_token(trial.study), f"{trial.number}/{name}"))
    meta = ArtifactMeta(identity, name, mimetype, None)
    place.mkdir(parents=True, exist_ok=True)
    trial.storage.set_trial_system_attr(trial._trial_id, PREFIX + identity, json.dumps(asdict(meta)))
    (place / identity).write_bytes(content)


def remove(place: Path, study: optuna.Study) -> None:
    """Delete the files of a study and of all of its trials; who calls holds the study.

    What another study of the database has as well, such as one that was unpacked beside it, stays."""
    base = storage.of(study)
    others = set[str]().union(
        *(_names(base, o._study_id) for o in base.get_all_studies() if o._study_id != study._study_id)
    )
    for name in _names(base, study._study_id) - others:
        (place / str(UUID(name))).unlink(missing_ok=True)


def _names(base: RDBStorage, study: int) -> set[str]:
    """The files of a study, by its id."""
    attributes = [base.get_study_system_attrs(study)]
    attributes += [trial.system_attrs for trial in base.get_all_trials(study, deepcopy=False)]
    return {name.removeprefix(PREFIX) for each in attributes for name in each if name.startswith(PREFIX)}


def _token(study: optuna.Study) -> UUID:
    base = storage.of(study)
    token = base.get_study_system_attrs(study._study_id).get(TOKEN)
    if token is None:
        token = str(uuid4())
        base.set_study_system_attr(study._study_id, TOKEN, token)
    return UUID(token)
