"""Files that a dashboard shows with a trial or a study, in one folder for all studies of a database.

A file's name follows from its study, its trial and its kind: a trial that runs again replaces what an interrupted run
has left, and nothing is ever an orphan. Deleting a study deletes its files.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from uuid import UUID, uuid4, uuid5

import optuna
from optuna.artifacts import ArtifactMeta
from optuna.storages import RDBStorage

from milair.study import storage

PREFIX = "artifacts:"  # of the system attributes by which Optuna and its dashboard find files
File = tuple[str, str, bytes]  # its name, its MIME type, its content
TOKEN = "milair:artifacts"  # of a study: what its files are named after, whatever the study is called


def folder(studies: Path) -> Path:
    """Where the files of the studies in a folder lie: what `optuna-dashboard --artifact-dir` takes."""
    return studies / "artifacts"


def keep(place: Path, trial: optuna.Trial, token: UUID, files: Sequence[File]) -> None:
    """Write files of a running trial, or replace them. OSError if the disk does not take one."""
    for name, mimetype, content in files:
        identity, meta = _identity(token, f"{trial.number}/{name}", name, mimetype)
        trial.storage.set_trial_system_attr(trial._trial_id, PREFIX + identity, meta)
        _write(place, identity, content)


def renew(place: Path, study: optuna.Study, token: UUID, files: Sequence[File]) -> None:
    """Replace the files of those names that a study itself has. OSError if the disk does not take one.

    Those that came with an unpacked study may be another study's as well: they stay, and are shown no more."""
    base = storage.of(study)
    attributes = base.get_study_system_attrs(study._study_id)
    before = {name: meta for name, meta in attributes.items() if name.startswith(PREFIX)}
    for name, mimetype, content in files:
        identity, meta = _identity(token, f"study/{name}", name, mimetype)
        base.set_study_system_attr(study._study_id, PREFIX + identity, meta)
        _write(place, identity, content)
        for other, of in before.items():
            if other != PREFIX + identity and (json.loads(of) or {}).get("filename") == name:
                base.set_study_system_attr(study._study_id, other, json.dumps(None))  # as the dashboard deletes


def _identity(token: UUID, what: str, name: str, mimetype: str) -> tuple[str, str]:
    """What a file is called on disk, and the value of the attribute that says so before it is there."""
    identity = str(uuid5(token, what))
    return identity, json.dumps(asdict(ArtifactMeta(identity, name, mimetype, None)))


def _write(place: Path, identity: str, content: bytes) -> None:
    place.mkdir(parents=True, exist_ok=True)
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


def token(study: optuna.Study) -> UUID:
    """What a study's files are named after; a new one if it has none."""
    base = storage.of(study)
    known = base.get_study_system_attrs(study._study_id).get(TOKEN)
    if known is None:
        known = str(uuid4())
        base.set_study_system_attr(study._study_id, TOKEN, known)
    return UUID(known)
