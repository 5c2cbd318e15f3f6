"""YOLO: a text file for each picture, a line for each object: class, centre x, centre y, width, height.

Boxes are shares of the picture, classes are numbers into the names of `data.yaml`, `classes.txt` or a `.names` file.
Label files lie in `labels/` (or `labels/train/` …, or `train/labels/` …) with their pictures in `images/` at the same
place, or beside their pictures.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from milair.frames.readers import reading

_LABELS = re.compile("^(.*/)labels(?=/|$)", re.DOTALL)
_NAMES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names", "labels/classes.txt")
_NO_LABELS = ("classes.txt", "train.txt", "val.txt", "valid.txt", "test.txt", "README.txt")


def files(folder: Path) -> list[Path]:
    """Label files, and then the file with the names of the classes, if there are any labels."""
    names = _names_file(folder)
    places = [*reading.with_parts(folder / "labels"), *(place / "labels" for place in reading.with_parts(folder)[1:])]
    places += [folder, folder / "obj_train_data"] if names else []
    labels = [file for place in places for file in sorted(place.glob("*.txt")) if file.name not in _NO_LABELS]
    return labels and [*labels, *names]


def rows(folder: Path, files: Sequence[Path]) -> reading.Rows:
    """Fault if the classes have no names."""
    names = _names(folder)
    labels = [file for file in files if file not in _names_file(folder)]
    yield from reading.each(labels, lambda file: _objects(file, folder, names))
    yield from reading.unnamed(map(_pictures, labels), {file.stem for file in labels})


def _objects(file: Path, folder: Path, names: Mapping[str, str]) -> reading.Rows:
    row = reading.Row(str(file), file.stem, (_pictures(file),), shares=True, part=reading.part_of(file, folder))
    lines = enumerate(map(str.split, reading.text(file).splitlines()), 1)
    objects = [(f"{file}, row {number}", cells) for number, cells in lines if cells]
    yield from reading.each(objects, lambda item: [_object(*item, names, row)]) if objects else [row]


def _object(where: str, cells: Sequence[str], names: Mapping[str, str], row: reading.Row) -> reading.Row:
    rule = f"it must be a class and four numbers (x, y, width, height), not '{' '.join(cells)[:60]}'"
    x, y, width, height = reading.box(cells[1:], where, rule)
    if cells[0] not in names:
        known = ", ".join(f"{number} {name}" for number, name in names.items())
        raise reading.Fault(where, f"class {cells[0]} is unknown; there are {known}")
    box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    return replace(row, where=where, label=names[cells[0]], box=box)


def _pictures(file: Path) -> Path:
    """The folder of a label file's picture: `images` where its path says `labels`, else its own."""
    return Path(_LABELS.sub(r"\1images", file.parent.as_posix()))


def _names_file(folder: Path) -> list[Path]:
    return [file for name in _NAMES for file in reading.there(folder / name)][:1]


def _names(folder: Path) -> dict[str, str]:
    """The names of the classes, by their numbers, "0" and on."""
    if not (files := _names_file(folder)):
        raise reading.Fault(folder, f"no names of classes there: none of {', '.join(_NAMES)}")
    (file,) = files
    data = reading.text(file)
    names: object = data.rstrip().splitlines()  # an empty line between them would shift their numbers
    if file.suffix in (".yaml", ".yml"):
        # All as text: a class may be called no, or 2024.
        document = reading.parsed(file, "YAML", lambda text: yaml.load(text, yaml.BaseLoader), data)
        names = document.get("names") if isinstance(document, dict) else None
    if isinstance(names, dict):
        names = [names.get(str(number)) for number in range(len(names))]
    words = [name.strip() if isinstance(name, str) else "" for name in names] if isinstance(names, list) else []
    if not all(words) or not words:
        raise reading.Fault(file, "'names' must list the names of the classes, in the order of their numbers from 0")
    if twice := next((word for word in words if words.count(word) > 1), None):
        raise reading.Fault(file, f"there are two classes '{twice}'")
    return {str(number): word for number, word in enumerate(words)}
