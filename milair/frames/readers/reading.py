"""What annotation files state, row by row, and what becomes of a row: the frame of a picture, or a fault."""

import codecs
import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from milair.boxes import Box, to_shares
from milair.errors import MilairError, first_line
from milair.frames import TEST, TRAIN, VALIDATION
from milair.frames.frame import Frame
from milair.frames.pictures import PICTURES, Picture

PARTS = {"training": TRAIN, "val": VALIDATION, "valid": VALIDATION, TRAIN: TRAIN, VALIDATION: VALIDATION, TEST: TEST}
# What breaks a line or a terminal: control characters, changes of the direction of writing, halves of characters.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_HALF = 200  # characters of either end of a rule: a cell may hold thousands, and a line is to be read
_SLACK = 1e-5  # of a picture, by which a box in shares may leave it: YOLO's are rounded to six digits


class Fault(MilairError):
    """What is wrong, as one line: where (file and row) and the rule. Raised, or yielded where more is to be read."""

    def __init__(self, where: object, rule: str) -> None:
        super().__init__(str(where), rule)

    def __str__(self) -> str:
        where, rule = self.args
        short = rule if len(rule) <= 2 * _HALF else f"{rule[:_HALF]} … {rule[-_HALF:]}"
        return CONTROL.sub(lambda character: repr(character[0])[1:-1], f"{where}: {short}")


@dataclass(frozen=True, slots=True)
class Row:
    """An object in a picture, or a picture without one."""

    where: str  # file and row
    name: str  # of the picture; its suffix may be left out
    places: tuple[Path, ...]  # folders in which it may lie
    label: str = ""
    box: Box | None = None  # None: nothing is said of an object in the picture
    shares: bool = False  # the box is in shares of the picture, not in its pixels
    size: tuple[int, int] | None = None  # of the picture: width and height
    part: str | None = None  # TRAIN, VALIDATION or TEST, or the number of a fold

    def frame(self, picture: Picture, box: Box, part: str | None) -> Frame:
        """The frame of an object in a picture. Fault if the box, or the size that is stated, is not of that picture."""
        size = f"{picture.width}x{picture.height}"
        name, stated = picture.path.name, self.size and f"{self.size[0]}x{self.size[1]}"
        if stated and stated != size:
            turned = picture.orientation >= 5 and stated == f"{picture.height}x{picture.width}"
            exif = f"has an EXIF orientation of {picture.orientation} and is shown as {size}; label it as it is shown"
            raise Fault(self.where, f"its size is stated as {stated}, but {name} {exif if turned else f'is {size}'}")
        shares = box if self.shares else to_shares(box, picture.width, picture.height)
        numbers, slack = ", ".join(f"{side:g}" for side in box), _SLACK if self.shares else 0
        if not all(-slack <= side <= 1 + slack for side in shares):
            raise Fault(self.where, f"box ({numbers}) is outside its {size} picture {name}")
        left, top, right, bottom = (min(max(side, 0.0), 1.0) for side in shares)
        if not (left < right and top < bottom):
            raise Fault(self.where, f"box ({numbers}) is empty; xmin < xmax, ymin < ymax")
        return Frame(picture, self.label, (left, top, right, bottom), part, self.where)


Rows = Iterator[Row | Fault]
T = TypeVar("T")
U = TypeVar("U")


def each(items: Iterable[T | Fault], read: Callable[[T], Iterable[U | Fault]]) -> Iterator[U | Fault]:
    """What comes of files, or of rows; a fault in one keeps nobody from the next."""
    for item in items:
        try:
            if isinstance(item, Fault):
                raise item
            yield from read(item)
        except Fault as fault:
            yield fault


def part(name: str) -> str | None:
    """TRAIN, VALIDATION or TEST, as a word for it means; None if it is another word."""
    return PARTS.get(name.strip().lower())


def part_of(file: Path, folder: Path) -> str | None:
    """The part that one of the folders between a file and `folder` is named after."""
    return next(filter(None, map(part, file.relative_to(folder).parts[:-1])), None)


def with_parts(folder: Path) -> list[Path]:
    """A folder, and its folders that are named after parts."""
    return [folder, *(folder / name for name in PARTS)]


def picture_places(folder: Path, *more: Path) -> tuple[Path, ...]:
    """Where pictures may lie: in a folder of their own, else beside the annotations."""
    own = (folder / name for name in ("images", "JPEGImages", "dataset"))
    return tuple(dict.fromkeys((*filter(Path.is_dir, own), *more, folder)))


def unnamed(places: Iterable[Path], named: Collection[str]) -> Rows:
    """A row for each picture whose stem no annotation names."""
    return (
        Row(str(path), path.name, (place,))
        for place in dict.fromkeys(places)
        for path in sorted(place.glob("*"))
        if path.suffix.lower() in PICTURES and path.stem not in named
    )


def there(file: Path) -> list[Path]:
    """A file that may be absent; what has its name and cannot be read is for `content` to name."""
    return [file] if os.path.lexists(file) else []


def holds(file: Path, *words: str) -> bool:
    """Whether words stand in a file, in UTF-8 or UTF-16; what cannot be read is left to the reader to name."""
    with suppress(Fault):
        data = content(file).replace(b"\0", b"")
        return all(word.encode() in data for word in words)
    return True


def content(file: Path) -> bytes:
    """What a file holds. Fault if it cannot be read."""
    if file.exists() and not file.is_file():  # to read a pipe is to wait for ever
        raise Fault(file, "it is a folder, a pipe or a device; it must be a file")
    try:
        return file.read_bytes()
    except OSError as error:
        raise Fault(file, f"cannot be read ({error.strerror})") from None


def text(file: Path) -> str:
    """A text file in UTF-8, with or without a BOM. Fault names the row that is in another encoding."""
    data = content(file)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise Fault(f"{file}, row 1", "it is in UTF-16; save the file as UTF-8")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        row, byte = data[: error.start].count(b"\n") + 1, data[error.start]
        raise Fault(f"{file}, row {row}", f"byte 0x{byte:02x} is not UTF-8; save the file as UTF-8") from None


def parsed(file: Path, kind: str, parse: Callable[[Any], Any], data: str | bytes) -> Any:
    """What is in a file as JSON, XML or YAML. Fault names the row, where the parser knows it."""
    try:
        return parse(data)
    except Exception as error:  # parsers raise many kinds for broken files; each means the same to the reader
        mark, place = getattr(error, "problem_mark", None), getattr(error, "position", None)  # YAML's, XML's
        row = mark.line + 1 if mark else place[0] if isinstance(place, tuple) else getattr(error, "lineno", None)
        rule = f"not {kind} ({getattr(error, 'msg', None) or first_line(error)})"
        raise Fault(f"{file}, row {row}" if row else file, rule) from None


def number(value: object) -> float:
    """A number, also as text; nan for anything else, and for 1_0, which float() takes for 10."""
    if not (isinstance(value, bool) or (isinstance(value, str) and "_" in value)):
        with suppress(TypeError, ValueError, OverflowError):
            return float(value)  # type: ignore[arg-type]
    return math.nan


def box(values: Iterable[object], where: str, rule: str) -> Box:
    """Four numbers. Fault with this rule for anything else."""
    numbers = [number(value) for value in values]
    if len(numbers) != 4 or any(map(math.isnan, numbers)):
        raise Fault(where, rule)
    return numbers[0], numbers[1], numbers[2], numbers[3]


def size(width: object, height: object) -> tuple[int, int] | None:
    """A stated size in pixels; None where none is stated, as tools write 0 for one that they do not know."""
    sides = number(width), number(height)
    return (round(sides[0]), round(sides[1])) if all(0 < side < 1e9 for side in sides) else None
