"""Labelled frames: read a folder, check every row, and split it as the document did."""

from __future__ import annotations

import csv
import hashlib
import math
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from milair.boxes import Box, to_shares
from milair.errors import MilairError, OutsideError

VALIDATION_SHARE, SPLIT_SEED = 0.25, 42  # the document's
_COLUMNS = ("filename", "class", "xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture with one named object; the box is in shares of the picture (0 to 1)."""

    path: Path
    width: int
    height: int
    label: str
    box: Box


@dataclass(frozen=True)
class Frames:
    """What a folder holds: labelled frames in the file's order, and pictures without labels."""

    folder: Path
    layout: str
    labelled: tuple[Frame, ...]
    unlabelled: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Most frequent first: the order that gives the document's class ids 0 to 5, and with them its split."""
        return class_order(self.labelled)

    def describe(self) -> str:
        """A few lines for people: how many frames, of what size and class, and how large their boxes are."""
        frames = self.labelled
        counts = Counter(frame.label for frame in frames)
        sizes = Counter(f"{frame.width}x{frame.height}" for frame in frames)
        areas = sorted((f.box[2] - f.box[0]) * (f.box[3] - f.box[1]) for f in frames)
        lines = [
            f"{len(frames)} labelled frames in {self.folder} ({self.layout}), {len(self.unlabelled)} without labels",
            f"classes  {', '.join(f'{name} {counts[name]}' for name in self.classes)}",
            f"sizes    {', '.join(f'{size} ({count})' for size, count in sizes.most_common(4))}"
            + (f" and {len(sizes) - 4} more" if len(sizes) > 4 else ""),
            f"boxes    {areas[0]:.1%} to {areas[-1]:.1%} of the picture, half below {areas[len(areas) // 2]:.1%}",
        ]
        return "\n".join(lines + [f"warning  {text}" for text in self.warnings])


@dataclass(frozen=True, slots=True)
class Split:
    """Frames to learn from and frames to judge by; no frame is in both."""

    train: tuple[Frame, ...]
    val: tuple[Frame, ...]


def read(folder: Path) -> Frames:
    """Read and check a folder in the competition's layout.

    `train.csv` (filename,class,xmin,ymin,xmax,ymax in pixels) beside the pictures or beside `images/`, and
    `test.csv` (filename) if there is one. Raises MilairError with file, row and rule at the first fault.
    """
    if not folder.is_dir():
        raise MilairError(f"{folder}: there is no such folder")
    table = folder / "train.csv"
    if not table.is_file():
        raise MilairError(f"{folder}: no train.csv there; milair reads train.csv ({','.join(_COLUMNS)}) with pictures")
    pictures = folder / "images" if (folder / "images").is_dir() else folder
    found: dict[str, list[Frame]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    for row, values in _rows(table, _COLUMNS):
        where, name = f"{table}, row {row}", values["filename"]
        if name not in sizes:
            sizes[name] = _size(where, pictures / name)
        found.setdefault(name, []).append(_frame(where, pictures / name, sizes[name], values))
    if not found:
        raise MilairError(f"{table}: it has no rows")
    several = sum(len(frames) > 1 for frames in found.values())
    hold = "frame holds" if several == 1 else "frames hold"
    notes = [f"{several} {hold} several objects; the largest box of each is used"] if several else []
    test = folder / "test.csv"
    return Frames(
        folder=folder,
        layout="competition CSV",
        labelled=tuple(max(frames, key=_area) for frames in found.values()),
        unlabelled=tuple(_unlabelled(test, pictures)) if test.is_file() else (),
        warnings=tuple(notes),
    )


def split(frames: Sequence[Frame]) -> Split:
    """scikit-learn's stratified train_test_split(test_size=0.25, random_state=42), as the document split its frames."""
    from sklearn.model_selection import train_test_split

    classes = class_order(frames)
    counts = Counter(frame.label for frame in frames)
    for name, count in sorted(counts.items()):
        if count < 2:
            raise MilairError(f"class '{name}' has {count} frame; a stratified split needs at least 2 of each class")
    if len(counts) < 2:
        raise MilairError(f"all frames are of class '{classes[0]}'; a search needs at least two classes")
    held = math.ceil(VALIDATION_SHARE * len(frames))
    if held < len(counts):
        raise MilairError(
            f"{len(frames)} frames of {len(counts)} classes: the {held} to judge by cannot hold every class"
        )
    ids = [classes.index(frame.label) for frame in frames]
    train, val = train_test_split(frames, test_size=VALIDATION_SHARE, random_state=SPLIT_SEED, stratify=ids)
    missing = [name for name in classes if name not in {frame.label for frame in val}]
    if missing:
        raise MilairError(
            f"class '{missing[0]}' has {counts[missing[0]]} frames, too few for one of them to fall into validation"
        )
    return Split(tuple(train), tuple(val))


def class_order(frames: Sequence[Frame]) -> tuple[str, ...]:
    counts = Counter(frame.label for frame in frames)
    return tuple(sorted(counts, key=lambda name: (-counts[name], name)))


def fingerprint(frames: Sequence[Frame]) -> str:
    """One hash over names, labels, boxes and picture contents: equal for equal data wherever it lies."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(f"{frame.path.name}|{frame.label}|{frame.box}|".encode() + picture_hash(frame.path))
    return digest.hexdigest()[:16]


def picture_hash(path: Path) -> bytes:
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError as error:
        raise OutsideError(f"{path}: cannot be read ({error.strerror})") from None


def _rows(table: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows with the number a person sees in an editor, the header being row 1."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise MilairError(f"{table}, row 1: column '{missing[0]}' is missing; needed are {','.join(columns)}")
            for values in reader:
                cells = {name: (values[name] or "").strip() for name in columns}
                for name in columns:
                    if not cells[name]:
                        raise MilairError(f"{table}, row {reader.line_num}: '{name}' is empty")
                yield reader.line_num, cells
    except (UnicodeDecodeError, csv.Error) as error:
        raise MilairError(f"{table}: not a CSV file in UTF-8 ({error})") from None


def _size(where: str, path: Path) -> tuple[int, int]:
    """Width and height from the picture's header; its pixels are decoded when the bank is built."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                return picture.size
    except FileNotFoundError:
        raise MilairError(f"{where}: there is no picture {path}") from None
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise MilairError(f"{where}: {path} is not a readable picture ({error})") from None


def _frame(where: str, path: Path, size: tuple[int, int], values: dict[str, str]) -> Frame:
    width, height = size
    try:
        xmin, ymin, xmax, ymax = (float(values[name]) for name in _COLUMNS[2:])
    except ValueError:
        raise MilairError(f"{where}: a box is four numbers, not {[values[name] for name in _COLUMNS[2:]]}") from None
    if not (xmin < xmax and ymin < ymax):
        raise MilairError(f"{where}: box ({xmin:g}, {ymin:g}, {xmax:g}, {ymax:g}) is empty; xmin < xmax, ymin < ymax")
    if not (xmin >= 0 and xmax <= width and ymin >= 0 and ymax <= height):
        raise MilairError(
            f"{where}: box ({xmin:g}, {ymin:g}, {xmax:g}, {ymax:g}) is outside its {width}x{height} picture {path.name}"
        )
    return Frame(path, width, height, values["class"], to_shares((xmin, ymin, xmax, ymax), width, height))


def _unlabelled(table: Path, pictures: Path) -> Iterator[Path]:
    for row, values in _rows(table, ("filename",)):
        path = pictures / values["filename"]
        _size(f"{table}, row {row}", path)
        yield path


def _area(frame: Frame) -> float:
    xmin, ymin, xmax, ymax = frame.box
    return (xmax - xmin) * (ymax - ymin)
