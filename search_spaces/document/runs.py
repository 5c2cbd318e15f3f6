"""The document's published trainings, and what was concluded from them: the two CSV files beside this one, as values.

A line of runs.csv is a training. Columns named as a recipe's fields are (`backbone`, `cls_head.type`) make up its
recipe, and an empty cell keeps the field's default. `chapter`, `run` and `note` are text, all others are figures.
"""

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from milair.errors import MilairError
from milair.recipe import Recipe

Value = TypeVar("Value")
_FIELDS = Recipe().to_json()


@dataclass(frozen=True, slots=True)
class Run:
    """One published training."""

    chapter: str
    name: str
    recipe: Recipe
    figures: Mapping[str, float]  # only those that were published
    note: str  # where the document contradicts itself, or leaves something out

    @property
    def score(self) -> float | None:
        """Validation: (IoU + accuracy) / 2, where both were published."""
        iou, accuracy = self.figures.get("val_iou"), self.figures.get("val_accuracy")
        return None if iou is None or accuracy is None else (iou + accuracy) / 2

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


def read(path: Path, value: Callable[[dict[str, str]], Value]) -> list[Value]:
    """A value from each line of a CSV file. MilairError names the line that holds a wrong cell."""
    values = []
    with path.open(encoding="utf-8", newline="") as file:
        for row in (rows := csv.DictReader(file)):
            try:
                values.append(value(row))
            except Exception as error:  # whatever a wrong cell breaks
                what = str(error).removeprefix("--set ")
                raise MilairError(f"{path.name}, line {rows.line_num}: {type(error).__name__}: {what}") from error
    return values


def parse_run(row: dict[str, str]) -> Run:
    cells = {name: text for name, text in row.items() if text}
    chapter, title, note = (cells.pop(name, "") for name in ("chapter", "run", "note"))
    heads = {name: {"type": cells.pop(f"{name}.type")} for name in _FIELDS if f"{name}.type" in cells}
    settings = {name: cells.pop(name) for name in list(cells) if name.split(".")[0] in _FIELDS}
    recipe = Recipe.from_json(heads).override(settings)
    return Run(chapter, title, recipe, {name: float(text) for name, text in cells.items()}, note)


def parse_claim(runs: list[Run], row: dict[str, str]) -> Claim:
    named = {(run.chapter, run.name): run for run in runs}
    return Claim(row["claim"], named[row["chapter"], row["run"]], named[row["than_chapter"], row["than_run"]])


RUNS = read(Path(__file__).with_name("runs.csv"), parse_run)
CLAIMS = read(Path(__file__).with_name("claims.csv"), partial(parse_claim, RUNS))
