"""Runs of an earlier search, published as a table: the recipe of each, and the figures that it came to.

Beside them, what was concluded from them: claims, each that one run is better than another.

A CSV file beside a search space, a line a run. Columns named as a recipe's fields are (`backbone`, `cls_head.type`)
make up its recipe, empty ones keep the default; `chapter`, `run` and `note` are text; the others are FIGURES.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from milair.errors import MilairError
from milair.recipe import Recipe

_TEXTS = ("chapter", "run", "note")
_FIELDS = {item.name for item in fields(Recipe)}
FIGURES = {
    "best_epoch",
    *(f"{part}_{name}" for part in ("train", "val") for name in ("loss", "cls_loss", "reg_loss", "iou", "accuracy")),
    *("private_score", "public_score", "test_score"),
    *("total_params", "trainable_params", "params_mb", "input_mb", "pass_mb", "total_mb", "vram_gb", "ram_gb"),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One published training."""

    chapter: str
    name: str
    recipe: Recipe
    figures: Mapping[str, float]  # only those that were published
    note: str  # where the source contradicts itself, or leaves something out

    @property
    def score(self) -> float | None:
        """Validation: (IoU + accuracy) / 2, where both were published."""
        parts = [self.figures.get("val_iou"), self.figures.get("val_accuracy")]
        return None if None in parts else sum(part for part in parts if part is not None) / 2

    @property
    def test_score(self) -> float | None:
        """On the held-back frames: the score given, or the mean of the private and the public one."""
        both = [self.figures[name] for name in ("private_score", "public_score") if name in self.figures]
        return self.figures.get("test_score", sum(both) / len(both) if both else None)


@dataclass(frozen=True, slots=True)
class Claim:
    """What was concluded, in words, and as a comparison: one run better than another."""

    text: str
    better: Run
    worse: Run


def read(path: Path) -> list[Run]:
    """The runs of a file, in its order. MilairError names the line that is none."""
    found: dict[tuple[str, str], Run] = {}
    for row, where in _rows(path, _TEXTS):
        run = _run(row, where)
        if (run.chapter, run.name) in found:
            raise MilairError(f"{where}: a run '{run.name}' of chapter '{run.chapter}' is there already")
        found[run.chapter, run.name] = run
    return list(found.values())


def read_claims(path: Path, runs: Iterable[Run]) -> list[Claim]:
    """A CSV file with the columns claim, chapter, run, than_chapter, than_run. MilairError names a run it lacks."""
    named = {(run.chapter, run.name): run for run in runs}

    def find(key: tuple[str, str], where: str) -> Run:
        if key not in named:
            raise MilairError(f"{where}: there is no run '{key[1]}' in a chapter '{key[0]}'")
        return named[key]

    return [
        Claim(
            row["claim"],
            find((row["chapter"], row["run"]), where),
            find((row["than_chapter"], row["than_run"]), where),
        )
        for row, where in _rows(path, ("claim", "chapter", "run", "than_chapter", "than_run"))
    ]


def recipes(runs: Iterable[Run]) -> list[Recipe]:
    """The distinct recipes, each where it came first."""
    return list(dict.fromkeys(run.recipe for run in runs))


def _rows(path: Path, needed: tuple[str, ...]) -> list[tuple[dict[str, str], str]]:
    """The rows of a CSV file, each with where it stands."""
    found: list[tuple[dict[str, Any], str]] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            lacking = [name for name in needed if name not in (rows.fieldnames or [])]
            if lacking:
                raise MilairError(f"{path}: there is no column '{lacking[0]}'")
            for row in rows:
                found.append((row, f"{path}, line {rows.line_num}"))
                if None in row or None in row.values():
                    raise MilairError(f"{found[-1][1]}: it has not as many cells as the first line has")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise MilairError(f"{path}: cannot be read as a table of runs ({error})") from error
    return found


def _run(row: dict[str, str], where: str) -> Run:
    given = {name: text for name, text in row.items() if text and name not in _TEXTS}
    chosen = {name: text for name, text in given.items() if name.split(".")[0] in _FIELDS}
    try:
        figures = {name: _figure(name, text) for name, text in given.items() if name not in chosen}
        recipe = _recipe(chosen)
    except MilairError as error:
        raise MilairError(f"{where}: {str(error).removeprefix('--set ')}") from error
    return Run(row["chapter"], row["run"], recipe, figures, row["note"])


def _figure(name: str, text: str) -> float:
    if name not in FIGURES:
        raise MilairError(f"'{name}' is neither a field of a recipe nor a figure: {', '.join(sorted(FIGURES))}")
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise MilairError(f"{name} is '{text}'; it must be a number")
    return value


def _recipe(cells: Mapping[str, str]) -> Recipe:
    """From text by dotted names; a head is what its `type` says, with the fields that are given."""
    kinds = {name.split(".")[0]: text for name, text in cells.items() if name.endswith(".type")}
    recipe = Recipe.from_json({name: {"type": kind} for name, kind in kinds.items()})
    return recipe.override({name: text for name, text in cells.items() if not name.endswith(".type")})
