"""Texts that optuna-dashboard shows with studies and trials, stored as it stores them: notes, and figures as JSON.

Written here and not by optuna_dashboard, whose import takes seconds and which reads all of a study for each note.
"""

import json
from typing import Any

import optuna
from sqlalchemy import text

from milair.study import storage

PIECE = 2045  # characters of a value, as the dashboard splits them
MARK = "[//]: # (milair writes what follows)"  # no Markdown reader shows it; what a person wrote stands above
_SELECT = text("SELECT key, value_json FROM study_system_attributes WHERE study_id = :study AND key LIKE :prefix")


def write(study: optuna.Study, body: str, trial: int | None = None) -> None:
    """Renew the note of a study, or of the trial with that id. What a person wrote above `MARK` stays."""
    prefix = "dashboard:" if trial is None else f"dashboard:{trial}:"
    pieces, version = _read(study, f"{prefix}note_str:"), f"{prefix}note_ver"
    theirs = "".join(pieces[name] for name in sorted(pieces, key=_number)).partition(MARK)[0].rstrip()
    number = _read(study, version).get(version, 0) + 1
    storage.of(study).set_study_system_attr(study._study_id, version, number)
    _write(study, f"{prefix}note_str:", f"{theirs}\n\n{MARK}\n\n{body}".lstrip(), pieces)


def figure(study: optuna.Study, name: str, data: list[dict[str, Any]], layout: dict[str, Any]) -> None:
    """Renew a Plotly figure of a study; `name` is of letters and hyphens."""
    prefix = f"dashboard:plot_data:{name}:"
    _write(study, prefix, json.dumps({"data": data, "layout": layout}), _read(study, prefix))


def _read(study: optuna.Study, prefix: str) -> dict[str, Any]:
    with storage.of(study).engine.connect() as connection:
        rows = connection.execute(_SELECT, {"study": study._study_id, "prefix": f"{prefix}%"}).all()
    return {key: json.loads(value) for key, value in rows if key.startswith(prefix)}


def _write(study: optuna.Study, prefix: str, content: str, before: dict[str, Any]) -> None:
    """A text in pieces; those that it has no more are emptied, and those that have not changed are left."""
    pieces = [content[start : start + PIECE] for start in range(0, len(content), PIECE)]
    pieces += [""] * (len(before) - len(pieces))
    for number, piece in enumerate(pieces):
        if before.get(name := f"{prefix}{number}") != piece:
            storage.of(study).set_study_system_attr(study._study_id, name, piece)


def _number(name: str) -> int:
    return int(name.rpartition(":")[2])
