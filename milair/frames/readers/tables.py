"""Annotations in CSV: the competition's tables, `labels_with_split.csv`, and one table for each picture.

Boxes are in pixels; names may lack their suffix. What columns a table has is known by its name.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from milair.frames.readers.reading import (
    Fault,
    Row,
    Rows,
    box,
    each,
    holds,
    number,
    part,
    picture_places,
    size,
    text,
    there,
)

BOX = ("xmin", "ymin", "xmax", "ymax")
COMPETITION = ("filename", "class", *BOX)
SPLIT = "split.csv"  # a split of one's own, beside any annotations
_SIZED = ("filename", "width", "height", "class", *BOX)  # one CSV for each picture, several rows if it has several
_FOLD = re.compile("[0-9]{1,4}")
_COLUMNS = {
    "train.csv": COMPETITION,
    "test.csv": ("filename",),
    "labels_with_split.csv": (*_SIZED, "split"),
    SPLIT: ("filename", "split"),
}


def competition_files(folder: Path) -> list[Path]:
    """`train.csv`, and `test.csv` if there is one."""
    train = there(folder / "train.csv")
    return train and [*train, *there(folder / "test.csv")]


def split_files(folder: Path) -> list[Path]:
    return there(folder / "labels_with_split.csv")


def single_files(folder: Path) -> list[Path]:
    """All CSV files of a folder in which one has the columns of a table for one picture."""
    places = (folder, *(folder / name for name in ("annotations", "labels", "dataset")))
    tables = ([file for file in sorted(place.glob("*.csv")) if file.name not in _COLUMNS] for place in places)
    return next((files for files in tables if any(holds(file, *_SIZED) for file in files)), [])


def rows(folder: Path, files: Sequence[Path]) -> Rows:
    """The rows of any of these tables."""
    yield from each(files, lambda file: _table(file, picture_places(folder, file.parent)))


def _table(file: Path, places: tuple[Path, ...]) -> Rows:
    columns, lines = _COLUMNS.get(file.name, _SIZED), _lines(file)
    top, names = next(lines, (f"{file}, row 1", []))
    header = [name.strip() for name in names]
    if missing := [name for name in columns if name not in header]:
        other = next((mark for mark in ";\t|" if len(header) == 1 and mark in header[0]), None)
        rule = f"columns are separated by {other!r}; write ','" if other else f"column '{missing[0]}' is missing"
        raise Fault(top, f"{rule}; needed are {','.join(columns)}")
    if twice := next((name for name in columns if header.count(name) > 1), None):
        raise Fault(top, f"there are two columns '{twice}'")
    more = ("width", "height", "split") if "class" in columns else ()
    wanted = dict.fromkeys((*columns, *(name for name in more if name in header)))
    yield from each(lines, lambda line: [_row(*line, header, wanted, places)])


def _row(
    where: str, values: Sequence[str], header: Sequence[str], wanted: Iterable[str], places: tuple[Path, ...]
) -> Row:
    stated = dict(zip(header, values, strict=False))
    cells = {name: stated.get(name, "").strip() for name in wanted}
    if empty := next((name for name in cells if not cells[name]), None):
        raise Fault(where, f"'{empty}' is empty")
    if any(cell.strip() for cell in values[len(header) :]):
        raise Fault(where, f"it has more cells than the header, which has {len(header)}")
    sides, sizes = [[cells[name] for name in names if name in cells] for names in (BOX, ("width", "height"))]
    its_box = box(sides, where, f"a box is four numbers, not {sides}") if sides else None
    if any(math.isnan(number(cell)) for cell in sizes):
        raise Fault(where, f"a size is two numbers, not {sizes}")
    stated_part = cells.get("split", "")
    its_part = str(int(stated_part)) if _FOLD.fullmatch(stated_part) else part(stated_part)
    if "split" in cells and not its_part:
        raise Fault(where, f"split is '{stated_part}'; it must be train, validation or test, or the number of a fold")
    return Row(
        where,
        cells["filename"],
        places,
        cells.get("class", ""),
        its_box,
        size=size(*sizes) if len(sizes) == 2 else None,
        part=its_part,
    )


def _lines(file: Path) -> Iterator[tuple[str, list[str]]]:
    """Where each row begins, the header being row 1, and its cells; empty lines are counted, but are no rows."""
    reader = csv.reader(io.StringIO(text(file), newline=""), strict=True)
    while True:
        where = f"{file}, row {reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise Fault(where, f"not CSV ({error}); are its quotes in pairs?") from None
        if cells:
            yield where, cells
