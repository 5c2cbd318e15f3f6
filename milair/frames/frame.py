"""Labelled frames as values: what they hold, the order of their classes, and one hash over all of them."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from milair.boxes import Box
from milair.frames.pictures import Picture, Stamp, stamp

_ANNOTATIONS = (".csv", ".json", ".xml", ".txt", ".yaml", ".yml", ".names")


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture with one named object; the box is in shares of the picture (0 to 1)."""

    picture: Picture
    label: str
    box: Box
    part: str | None = None  # train or validation, or the number of its fold, if the data say so
    where: str = field(default="", compare=False)  # file and row of its label

    @property
    def path(self) -> Path:
        return self.picture.path

    @property
    def width(self) -> int:
        """In pixels, as it is shown; so is the height."""
        return self.picture.width

    @property
    def height(self) -> int:
        return self.picture.height

    @property
    def area(self) -> float:
        """Of the box, as a share of the picture."""
        xmin, ymin, xmax, ymax = self.box
        return (xmax - xmin) * (ymax - ymin)


@dataclass(frozen=True, slots=True)
class Frames:
    """What a folder holds: labelled frames in the files' order, and pictures without labels."""

    folder: Path
    layout: str
    labelled: tuple[Frame, ...]
    unlabelled: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()  # the annotation files that it was read from
    state: Mapping[Path, Stamp] = field(default_factory=dict, compare=False, repr=False)  # see stamps; as it was read

    @property
    def classes(self) -> tuple[str, ...]:
        """Most frequent first: the order that gives the document's class ids 0 to 5, and with them its split."""
        return class_order(self.labelled)

    def changed(self) -> bool:
        """Whether an annotation file or a picture has another size or time of change than when it was read, or
        annotation files came or went beside them. Nothing is read: what changed is for read.py to say."""
        known = [path for path, its_stamp in self.state.items() if its_stamp]
        return stamps(self.folder, self.files, known) != self.state

    def describe(self) -> str:
        """A few lines for people: how many frames, of what size and class, and how large their boxes are."""
        frames = self.labelled
        counts = Counter(frame.label for frame in frames)
        sizes = Counter(f"{frame.width}x{frame.height}" for frame in frames)
        areas = sorted(frame.area for frame in frames)
        lines = [
            f"{len(frames)} labelled frames in {self.folder} ({self.layout}), {len(self.unlabelled)} without labels",
            f"classes  {', '.join(f'{name} {counts[name]}' for name in self.classes)}",
            f"sizes    {', '.join(f'{size} ({count})' for size, count in sizes.most_common(4))}"
            + (f" and {len(sizes) - 4} more" if len(sizes) > 4 else ""),
            f"boxes    {areas[0]:.1%} to {areas[-1]:.1%} of the picture, half below {areas[len(areas) // 2]:.1%}",
        ]
        alone = ["note     all frames are of one class: accuracy is always 1, and the search is for the box"]
        notes = alone if len(counts) == 1 else []
        return "\n".join([*lines, *notes, *(f"warning  {text}" for text in self.warnings)])


@dataclass(frozen=True, slots=True)
class Split:
    """Training and validation frames; no frame is in both."""

    train: tuple[Frame, ...]
    val: tuple[Frame, ...]


def stamps(folder: Path, files: Sequence[Path], pictures: Iterable[Path] = ()) -> dict[Path, Stamp]:
    """The size and time of change of files and pictures; None for all else beside them that may hold annotations."""
    places = {folder, *(file.parent for file in files)}
    beside = {path: None for place in places for path in place.glob("*") if path.suffix.lower() in _ANNOTATIONS}
    return beside | {path: stamp(path) for path in (*files, *pictures)}


def class_order(frames: Sequence[Frame]) -> tuple[str, ...]:
    counts = Counter(frame.label for frame in frames)
    return tuple(sorted(counts, key=lambda name: (-counts[name], name)))


def fingerprint(frames: Sequence[Frame]) -> str:
    """One hash over names, labels, boxes and picture contents: equal for equal data wherever it lies."""
    contents = [f"{frame.path.name}|{frame.label}|{frame.box}|".encode() + frame.picture.content for frame in frames]
    return hashlib.sha256(b"".join(contents)).hexdigest()[:16]


def label_rows(frames: Sequence[Frame]) -> list[list[Any]]:
    """What a study keeps of its frames, as JSON: name, label, box in shares and content (hex) of each, in order."""
    return [[frame.path.name, frame.label, list(frame.box), frame.picture.content.hex()] for frame in frames]


def label_difference(rows: Sequence[Sequence[Any]], frames: Sequence[Frame]) -> str | None:
    """The first difference of frames from `label_rows` of earlier ones, as a phrase; None if they are the same."""
    earlier: dict[str, list[Sequence[Any]]] = {}  # by name, which frames of two folders may share
    for name, *row in rows:
        earlier.setdefault(name, []).append(row)
    for (name, label, box, content), frame in zip(label_rows(frames), frames, strict=True):
        if not earlier.get(name):
            return f"{frame.where}: {name} is new"
        old_label, old_box, old_content = earlier[name].pop(0)
        if (label, box) != (old_label, old_box):
            return f"{frame.where}: {name} is {_said(label, box)}, it was {_said(old_label, old_box)}"
        if content != old_content:
            return f"{frame.where}: the picture {name} is another one than it was"
    if gone := next((name for name, left in earlier.items() if left), None):
        return f"{gone} has no label any more"
    moved = next((frame for row, frame in zip(rows, frames, strict=True) if row[0] != frame.path.name), None)
    return f"{moved.where}: {moved.path.name} comes in another order than it did" if moved else None


def _said(label: str, box: Sequence[float]) -> str:
    return f"{label} ({', '.join(f'{side:.4g}' for side in box)})"
