"""Annotations in CSV: the competition's tables, `labels_with_split.csv`, and one table for each picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from milair.frames.readers.rows import (
    Broken,
    Fault,
    Row,
    Rows,
    box,
    each,
    number,
    part,
    picture_places,
    size,
    text,
    there,
)

BOX = ("xmin", "ymin", "xmax", "ymax")
COMPETITION = ("filename", "class", *BOX)
SIZED = ("filename", "width", "height", "class", *BOX)
SPLIT = "split.csv"  # filename,split: a split of one's own, beside any annotations
_OWN = ("train.csv", "test.csv", "labels_with_split.csv", SPLIT)


def competition_files(folder: Path) -> list[Path]:
    return there(folder / "train.csv")


def competition(folder: Path, files: Sequence[Path]) -> Rows:
    """`train.csv` (filename,class,xmin,ymin,xmax,ymax in pixels), and `test.csv` (filename) if there is one."""
    yield from each(files, lambda file: _labelled(file, COMPETITION, folder))
    yield from each(there(folder / "test.csv"), lambda file: _unlabelled(file, folder))


def split_files(folder: Path) -> list[Path]:
    return there(folder / "labels_with_split.csv")


def with_split(folder: Path, files: Sequence[Path]) -> Rows:
    """filename,width,height,class,xmin,ymin,xmax,ymax,split, several rows a picture, names without suffix."""
    yield from each(files, lambda file: _labelled(file, (*SIZED, "split"), folder))


def single_files(folder: Path) -> list[Path]:
    """CSV files with the columns of a table for one picture."""
    for place in (folder, *(folder / name for name in ("annotations", "labels", "dataset"))):
        found = [file for file in sorted(place.glob("*.csv")) if file.name not in _OWN and _has(file, SIZED)]
        if found:
            return sorted(file for file in place.glob("*.csv") if file.name not in _OWN)
    return []


def single(folder: Path, files: Sequence[Path]) -> Rows:
    """filename,width,height,class,xmin,ymin,xmax,ymax in one CSV for each picture, several rows if it has several."""
    yield from each(files, lambda file: _labelled(file, SIZED, folder))


def parts(file: Path) -> Rows:
    """The pictures of a `split.csv`, each with its part."""
    for item in _table(file, ("filename", "split")):
        if isinstance(item, Fault):
            yield item
            continue
        where, cells = item
        named = part(cells["split"])
        yield Row(where, cells["filename"], (), part=named) if named else _no_part(where, cells["split"])


def _labelled(file: Path, columns: Sequence[str], folder: Path) -> Rows:
    places = picture_places(folder, file.parent)
    for item in _table(file, columns):
        if isinstance(item, Fault):
            yield item
            continue
        where, cells = item
        found = box(cells[name] for name in BOX)
        stated = [cells[name] for name in ("width", "height") if name in cells]
        named = part(cells["split"]) if "split" in cells else None
        if found is None:
            yield Fault(where, f"a box is four numbers, not {[cells[name] for name in BOX]}")
        elif None in map(number, stated):
            yield Fault(where, f"a size is two numbers, not {stated}")
        elif "split" in cells and named is None:
            yield _no_part(where, cells["split"])
        else:
            its_size = size(*stated) if len(stated) == 2 else None
            yield Row(where, cells["filename"], places, cells["class"], found, size=its_size, part=named)


def _unlabelled(file: Path, folder: Path) -> Rows:
    for item in _table(file, ("filename",)):
        yield item if isinstance(item, Fault) else Row(item[0], item[1]["filename"], picture_places(folder))


def _no_part(where: str, said: str) -> Fault:
    return Fault(where, f"split is '{said}'; it must be train, validation or test")


def _table(file: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]] | Fault]:
    """Where each row is, the header being row 1, and its cells: those of `columns`, and width, height, split if there.

    Broken if a column is missing."""
    found = _rows(file)
    top, names = next(found, (f"{file}, row 1", []))
    header = [name.strip() for name in names]
    missing = [name for name in columns if name not in header]
    if missing:
        other = next((mark for mark in ";\t|" if len(header) == 1 and mark in header[0]), None)
        rule = f"columns are separated by {other!r}; write ','" if other else f"column '{missing[0]}' is missing"
        raise Broken(top, f"{rule}; needed are {','.join(columns)}")
    if twice := next((name for name in columns if header.count(name) > 1), None):
        raise Broken(top, f"there are two columns '{twice}'")
    wanted = (*columns, *(name for name in ("width", "height", "split") if name in header and name not in columns))
    for where, values in found:
        stated = dict(zip(header, values, strict=False))
        cells = {name: stated.get(name, "").strip() for name in wanted}
        empty = next((name for name in wanted if not cells[name]), None)
        if empty is not None:
            yield Fault(where, f"'{empty}' is empty")
        elif any(cell.strip() for cell in values[len(header) :]):
            yield Fault(where, f"it has more cells than the header, which has {len(header)}")
        else:
            yield where, cells


def _rows(file: Path) -> Iterator[tuple[str, list[str]]]:
    """Where each row begins, and its cells; empty lines are counted, but are no rows."""
    reader = csv.reader(io.StringIO(text(file), newline=""), strict=True)
    while True:
        where = f"{file}, row {reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise Broken(where, f"not CSV ({error}); are its quotes in pairs?") from None
        if cells:
            yield where, cells


def _has(file: Path, columns: Sequence[str]) -> bool:
    """Whether these are the columns of a file, as far as its first line tells, in UTF-8 or UTF-16."""
    try:
        with file.open("rb") if file.is_file() else io.BytesIO() as opened:
            first = opened.readline(4096).replace(b"\0", b"").decode("utf-8", "replace")
    except OSError:
        return False
    return all(name in first for name in columns)
