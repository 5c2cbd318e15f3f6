"""YOLO: a text file for each picture, a line for each object: class, centre x, centre y, width, height.

Boxes are shares of the picture, classes are numbers into the names of `data.yaml`, `classes.txt` or a `.names` file.
Label files lie in `labels/` (or `labels/train/` …, or `train/labels/` …) with their pictures in `images/` at the same
place, or beside their pictures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from milair.errors import first_line
from milair.frames.readers.rows import Broken, Fault, Row, Rows, box, each, part_of, text, there, unnamed, with_parts

_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names", "labels/classes.txt")
_NO_LABELS = ("classes.txt", "train.txt", "val.txt", "valid.txt", "test.txt", "README.txt")


def files(folder: Path) -> list[Path]:
    own = [*with_parts(folder / "labels"), *(place / "labels" for place in with_parts(folder)[1:])]
    beside = [folder, folder / "obj_train_data"] if _names_file(folder) else []
    return [file for place in (*own, *beside) for file in sorted(place.glob("*.txt")) if file.name not in _NO_LABELS]


def rows(folder: Path, files: Sequence[Path]) -> Rows:
    try:
        names = _names(folder)
    except Broken as error:
        yield error.fault
        return
    yield from each(files, lambda file: _objects(file, folder, names))
    yield from unnamed(map(_pictures, files), {file.stem for file in files})


def _objects(file: Path, folder: Path, names: Mapping[str, str]) -> Rows:
    lines = [(number, line.split()) for number, line in enumerate(text(file).splitlines(), 1) if line.strip()]
    row = Row(str(file), file.stem, (_pictures(file),), shares=True, part=part_of(file, folder))
    if not lines:
        yield row
    for number, cells in lines:
        where = f"{file}, row {number}"
        found = box(cells[1:])
        if found is None:
            yield Fault(
                where, f"it must be a class and four numbers (x, y, width, height), not '{' '.join(cells)[:60]}'"
            )
        elif cells[0] not in names:
            known = ", ".join(f"{number} {name}" for number, name in names.items())
            yield Fault(where, f"class {cells[0]} is unknown; there are {known}")
        else:
            x, y, width, height = found
            corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            yield replace(row, where=where, label=names[cells[0]], box=corners)


def _pictures(file: Path) -> Path:
    """The folder of a label file's picture: `images` where its path says `labels`, else its own."""
    parts = list(file.parent.parts)
    if "labels" not in parts:
        return file.parent
    at = len(parts) - 1 - parts[::-1].index("labels")
    return Path(*parts[:at], "images", *parts[at + 1 :])


def _names_file(folder: Path) -> Path | None:
    return next((file for name in _NAMES for file in there(folder / name)), None)


def _names(folder: Path) -> dict[str, str]:
    """The names of the classes, by their numbers, "0" and on."""
    file = _names_file(folder)
    if file is None:
        raise Broken(folder, f"no names of classes there: none of {', '.join(_NAMES)}")
    if file.suffix not in (".yaml", ".yml"):
        names: object = text(file).rstrip().splitlines()  # an empty line between them would shift their numbers
    else:
        try:
            said = yaml.load(text(file), yaml.BaseLoader)  # all as text: a class may be called no, or 2024
        except (yaml.YAMLError, RecursionError) as error:
            mark = getattr(error, "problem_mark", None)
            raise Broken(f"{file}, row {mark.line + 1}" if mark else file, f"not YAML ({first_line(error)})") from None
        names = said.get("names") if isinstance(said, dict) else None
    if isinstance(names, dict):
        names = [names.get(str(number)) for number in range(len(names))]
    words = [name.strip() if isinstance(name, str) else "" for name in names] if isinstance(names, list) else []
    if not words or not all(words):
        raise Broken(file, "'names' must list the names of the classes, in the order of their numbers from 0")
    if twice := next((word for word, count in Counter(words).items() if count > 1), None):
        raise Broken(file, f"there are two classes '{twice}'")
    return {str(number): word for number, word in enumerate(words)}
