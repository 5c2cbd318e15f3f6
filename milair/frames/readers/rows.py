"""What annotation files state, row by row, before anything of it is checked against the pictures."""

from __future__ import annotations

import codecs
import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from milair.boxes import Box
from milair.frames.pictures import PICTURES

TRAIN, VALIDATION, TEST = "train", "validation", "test"
_PARTS = {"training": TRAIN, "val": VALIDATION, "valid": VALIDATION} | {
    name: name for name in (TRAIN, VALIDATION, TEST)
}
PART_FOLDERS = tuple(_PARTS)
_PICTURE_FOLDERS = ("images", "JPEGImages", "dataset")
# What breaks a line or a terminal: control characters, changes of the direction of writing, halves of characters.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_LONGEST = 400  # characters of a rule: a cell may hold thousands, and a line is to be read


@dataclass(frozen=True, slots=True)
class Row:
    """An object in a picture, or a picture without one."""

    where: str  # file and row
    name: str  # of the picture; its suffix may be left out
    places: tuple[Path, ...]  # folders in which it may lie
    label: str | None = None  # None: nothing is said of an object in it
    box: Box | None = None
    shares: bool = False  # the box is in shares of the picture, not in its pixels
    size: tuple[int, int] | None = None  # of the picture: width and height
    part: str | None = None  # TRAIN, VALIDATION or TEST


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, as one line: where (file and row) and the rule."""

    where: str
    rule: str

    def __str__(self) -> str:
        half = _LONGEST // 2
        rule = self.rule if len(self.rule) <= _LONGEST else f"{self.rule[:half]} … {self.rule[-half:]}"
        return CONTROL.sub(lambda found: repr(found[0])[1:-1], f"{self.where}: {rule}")


class Broken(Exception):
    """A file of which nothing more can be read."""

    def __init__(self, where: object, rule: str) -> None:
        self.fault = Fault(str(where), rule)


Rows = Iterator[Row | Fault]


def each(files: Iterable[Path], read: Callable[[Path], Rows]) -> Rows:
    """The rows of several files; one that is broken keeps nobody from the next."""
    for file in files:
        try:
            yield from read(file)
        except Broken as error:
            yield error.fault


def part(name: str) -> str | None:
    """TRAIN, VALIDATION or TEST, as a word for it means; None if it is another word."""
    return _PARTS.get(name.strip().lower())


def part_of(file: Path, folder: Path) -> str | None:
    """The part that one of the folders between a file and `folder` is named after."""
    return next(filter(None, map(part, file.relative_to(folder).parts[:-1])), None)


def with_parts(folder: Path) -> list[Path]:
    """A folder, and its folders that are named after parts."""
    return [folder, *(folder / name for name in PART_FOLDERS)]


def picture_places(folder: Path, *more: Path) -> tuple[Path, ...]:
    """Where pictures may lie: in a folder of their own, else beside the annotations."""
    own = (folder / name for name in _PICTURE_FOLDERS)
    return tuple(dict.fromkeys((*(place for place in own if place.is_dir()), *more, folder)))


def unnamed(places: Iterable[Path], named: Collection[str]) -> Rows:
    """A row for each picture whose stem no annotation names."""
    for place in dict.fromkeys(places):
        for path in sorted(place.glob("*")):
            if path.suffix.lower() in PICTURES and path.stem not in named:
                yield Row(str(path), path.name, (place,))


def holds(file: Path, word: bytes) -> bool:
    """Whether a word stands in a file; what cannot be read is left to the reader to name."""
    try:
        return word in content(file)
    except Broken:
        return True


def there(file: Path) -> list[Path]:
    """A file that may be absent; what has its name and cannot be read is for `content` to name."""
    return [file] if os.path.lexists(file) else []


def content(file: Path) -> bytes:
    if file.exists() and not file.is_file():  # to read a pipe is to wait for ever
        raise Broken(file, "it is a folder, a pipe or a device; it must be a file")
    try:
        return file.read_bytes()
    except OSError as error:
        raise Broken(file, f"cannot be read ({error.strerror})") from None


def text(file: Path) -> str:
    """A text file in UTF-8, with or without a BOM. Broken names the row that is in another encoding."""
    data = content(file)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise Broken(f"{file}, row 1", "it is in UTF-16; save the file as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row = data[: error.start].count(b"\n") + 1
        raise Broken(
            f"{file}, row {row}", f"byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8"
        ) from None


def number(value: object) -> float | None:
    """A number, also as text; None for anything else, such as nan, and 1_0, which float() takes for 10."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and "_" in value:
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(found) else found


def box(values: Iterable[object]) -> Box | None:
    """Four numbers; None for anything else."""
    found = [number(value) for value in values]
    if len(found) != 4 or None in found:
        return None
    return found[0], found[1], found[2], found[3]  # type: ignore[return-value]


def size(width: object, height: object) -> tuple[int, int] | None:
    """A stated size in pixels; None where none is stated, as tools write 0 for one that they do not know."""
    found = [number(width) or 0, number(height) or 0]
    return (round(found[0]), round(found[1])) if all(0 < side < 1e9 for side in found) else None
