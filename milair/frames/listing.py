"""Which pictures a prediction is of: named one by one, in folders, by patterns, in a CSV, or those without labels.

Pictures are listed and not opened: whether one can be read is seen when its turn comes.
"""

import csv
import glob
import io
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from milair.errors import MilairError
from milair.frames import readers
from milair.frames.pictures import PICTURES
from milair.frames.read import by_stem, locate
from milair.frames.readers import reading


@dataclass(frozen=True, slots=True)
class Listed:
    """A picture that is to be predicted, and how results name it."""

    path: Path
    name: str


def named(places: Sequence[str]) -> list[Listed]:
    """Pictures, those in folders, and those that patterns match. MilairError if one is missing or comes to nothing."""
    paths: list[Path] = []
    for place in places:
        path = Path(place)
        if path.is_dir():
            inside = sorted(file for file in path.iterdir() if file.suffix.lower() in PICTURES)
            if not inside:
                raise MilairError(f"{place}: there are no pictures in that folder")
            paths += inside
        elif path.is_file():
            paths.append(path)
        elif glob.has_magic(place):
            matching = sorted(file for file in map(Path, glob.glob(place, recursive=True)) if file.is_file())  # noqa: PTH207 (pathlib's takes no absolute pattern)
            if not matching:
                raise MilairError(f"{place}: no picture matches that pattern")
            paths += matching
        else:
            raise MilairError(f"{place}: there is no such picture or folder")
    return [Listed(path, path.name) for path in paths]


def in_table(file: Path, folder: Path | None = None) -> list[Listed]:
    """The pictures that a CSV names, in its column `filename`, else in its first one.

    A name is relative to `folder`, else to the CSV's own, or to `images` in it; its suffix may be left out. The first
    row is a header if it holds `filename`, or names no picture. MilairError if the table cannot be read or names
    nothing."""
    try:
        rows = [row for row in csv.reader(io.StringIO(reading.text(file), newline=""), strict=True) if any(row)]
    except csv.Error as error:
        raise MilairError(f"{file}: not CSV ({error})") from None
    header = [cell.strip() for cell in rows[0]] if rows else []
    column = header.index("filename") if "filename" in header else 0
    places = [folder] if folder else [file.parent, file.parent / "images"]
    named = header and (Path(header[0]).suffix.lower() in PICTURES or os.path.isfile(_place(header[0], places)))  # noqa: PTH113
    if not named:
        rows = rows[1:]
    names = [row[column].strip() if column < len(row) else "" for row in rows]
    if not any(names):
        raise MilairError(f"{file}: it names no pictures")
    return [Listed(_place(name, places), name) for name in names if name]


def unlabelled(folder: Path) -> tuple[list[Listed], list[reading.Fault]]:
    """The frames of a data folder that no annotation has an object for, and the rows for which there is no picture.

    MilairError if the folder's format is not known, or it has no such frames."""
    folder = Path(os.path.normpath(folder.absolute()))
    (layout, files), *_ = readers.find(folder)
    listed = cache(by_stem)
    paths, labelled = dict[Path, None](), set[Path]()
    faults: list[reading.Fault] = []
    for row in layout.rows(folder, files):
        if isinstance(row, reading.Fault):
            continue  # of a label, of which nothing is asked here
        if row.box is not None:
            with suppress(reading.Fault):
                labelled.add(locate(row, folder, listed))
            continue
        try:
            paths[locate(row, folder, listed)] = None
        except reading.Fault as fault:
            faults.append(fault)
    found = [Listed(path, path.name) for path in paths if path not in labelled]
    if not (found or faults):
        raise MilairError(f"{folder}: there are no frames without labels ({layout.name})")
    return found, faults


def _place(name: str, places: Sequence[Path]) -> Path:
    """Where a picture lies; the first place if it is in none."""
    name = name.replace("\\", "/")
    paths = [place / f"{name}{suffix}" for suffix in ("", *PICTURES) for place in places]
    return next((path for path in paths if os.path.isfile(path)), paths[0])  # noqa: PTH113 (see read.py)
