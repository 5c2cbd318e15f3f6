"""Predictions as files: CSV, JSON, and COCO's results, written as predictions come; a file takes its name at the end.

So memory stays flat, and a run that fails leaves an older file as it was.
"""

import csv
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

Write = Callable[["Result"], object]


@dataclass(frozen=True, slots=True)
class Result:
    """What was predicted for a picture; the box is (xmin, ymin, xmax, ymax) in whole pixels."""

    number: int  # the picture's place in the list, from 1
    name: str
    label: str
    category: int  # the class's place among the model's, from 1
    probability: float
    box: tuple[int, int, int, int]
    uncertain: bool | None = None  # whether its probability is below the threshold; None without one


@contextmanager
def writers(table: Path | None, coco: Path | None, document: Path | None, threshold: bool) -> Iterator[list[Write]]:
    """What writes a result into each file that is asked for; with `threshold` whether it is uncertain as well."""
    with ExitStack() as stack:
        places = ((table, _table), (coco, _coco), (document, _document))
        yield [make(stack, stack.enter_context(_whole(file)), threshold) for file, make in places if file is not None]


@contextmanager
def _whole(file: Path) -> Iterator[TextIO]:
    """A file that is there once the block has ended, and not if it fails; a device or a pipe is written as it is."""
    if file.exists() and not file.is_file():
        with file.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8", newline="") as stream:
            yield stream
        beside.replace(file)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def _table(_: ExitStack, stream: TextIO, threshold: bool) -> Write:
    """The competition's layout."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["filename", "class", "xmin", "ymin", "xmax", "ymax", *["uncertain"] * threshold])

    def write(result: Result) -> None:
        uncertain = ["yes" if result.uncertain else "no"] if threshold else []
        writer.writerow([result.name, result.label, *result.box, *uncertain])

    return write


def _coco(stack: ExitStack, stream: TextIO, threshold: bool) -> Write:
    """COCO's results: a box is its corner, width and height; both numbers are places from 1."""

    def values(result: Result) -> dict[str, Any]:
        left, top, right, bottom = result.box
        return {
            "image_id": result.number,
            "category_id": result.category,
            "bbox": [left, top, right - left, bottom - top],
            "score": result.probability,
            "file_name": result.name,
            "category_name": result.label,
        }

    return _list(stack, stream, threshold, values)


def _document(stack: ExitStack, stream: TextIO, threshold: bool) -> Write:
    def values(result: Result) -> dict[str, Any]:
        names = ("xmin", "ymin", "xmax", "ymax")
        box = dict(zip(names, result.box, strict=True))
        return {"filename": result.name, "class": result.label, "probability": result.probability, **box}

    return _list(stack, stream, threshold, values)


def _list(stack: ExitStack, stream: TextIO, threshold: bool, values: Callable[[Result], dict[str, Any]]) -> Write:
    """A JSON list, a line for each result."""
    stream.write("[")
    stack.callback(stream.write, "\n]\n")  # where the block fails the file is dropped anyway
    between = "\n"

    def write(result: Result) -> None:
        nonlocal between
        also = {"uncertain": result.uncertain} if threshold else {}
        stream.write(between + json.dumps(values(result) | also))
        between = ",\n"

    return write
