"""Texts that optuna-dashboard shows with studies and trials, stored as it stores them: notes, and figures as JSON.

Written here and not by optuna_dashboard, whose import takes seconds and which reads all of a study for each note.
"""

import json
from typing import Any

import optuna
from optuna.storages._rdb.models import StudySystemAttributeModel
from sqlalchemy import text

from milair.study import storage

PIECE = 2045  # characters of a value, as the dashboard splits them
MARK = "[//]: # (milair writes what follows)"  # no Markdown reader shows it; what a person wrote stands above
_SELECT = text("SELECT key, value_json FROM study_system_attributes WHERE study_id = :study AND key LIKE :prefix")


def write(study: optuna.Study, body: str, trial: int | None = None) -> None:
    """Renew the note of a study, or of the trial with that id. What a person wrote above `MARK` stays."""
    prefix = "dashboard:note_" if trial is None else f"dashboard:{trial}:note_"
    pieces, version = _read(study, prefix), f"{prefix}ver"
    number = pieces.pop(version, 0) + 1
    theirs = "".join(pieces[name] for name in sorted(pieces, key=_number)).partition(MARK)[0].rstrip()
    note = f"{theirs}\n\n{MARK}\n\n{body}".lstrip()
    _write(study, {version: number, **_pieces(f"{prefix}str:", note, len(pieces))})


def figure(study: optuna.Study, name: str, data: list[dict[str, Any]], layout: dict[str, Any]) -> None:
    """Renew a Plotly figure of a study; `name` is of letters and hyphens."""
    prefix = f"dashboard:plot_data:{name}:"
    _write(study, _pieces(prefix, json.dumps({"data": data, "layout": layout}), len(_read(study, prefix))))


def _read(study: optuna.Study, prefix: str) -> dict[str, Any]:
    with storage.of(study).engine.connect() as connection:
        rows = connection.execute(_SELECT, {"study": study._study_id, "prefix": f"{prefix}%"}).all()
    return {key: json.loads(value) for key, value in rows if key.startswith(prefix)}


def _pieces(prefix: str, content: str, before: int) -> dict[str, str]:
    """A text in pieces, by name; of as many as it had before, those that it has no more are empty."""
    pieces = [content[start : start + PIECE] for start in range(0, len(content), PIECE)]
    pieces += [""] * (before - len(pieces))
    return {f"{prefix}{number}": piece for number, piece in enumerate(pieces)}


def _write(study: optuna.Study, attributes: dict[str, Any]) -> None:
    """In one transaction."""
    rows = [{"study_id": study._study_id, "key": n, "value_json": json.dumps(v)} for n, v in attributes.items()]
    with storage.of(study).engine.begin() as connection:
        storage.put(connection, StudySystemAttributeModel, *rows)


def _number(name: str) -> int:
    return int(name.rpartition(":")[2])
