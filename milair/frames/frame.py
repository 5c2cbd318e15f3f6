"""Labelled frames as values: what they hold, the order of their classes, and one hash over all of them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from milair.boxes import Box
from milair.frames.pictures import Picture


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture with one named object; the box is in shares of the picture (0 to 1)."""

    picture: Picture
    label: str
    box: Box
    part: str | None = None  # train or validation, if the data say so
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


@dataclass(frozen=True)
class Frames:
    """What a folder holds: labelled frames in the files' order, and pictures without labels."""

    folder: Path
    layout: str
    labelled: tuple[Frame, ...]
    unlabelled: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()  # the annotation files that it was read from

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Most frequent first: the order that gives the document's class ids 0 to 5, and with them its split."""
        return class_order(self.labelled)

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
        return "\n".join(lines + [f"warning  {text}" for text in self.warnings])


@dataclass(frozen=True, slots=True)
class Split:
    """Frames to learn from and frames to judge by; no frame is in both."""

    train: tuple[Frame, ...]
    val: tuple[Frame, ...]


def class_order(frames: Sequence[Frame]) -> tuple[str, ...]:
    counts = Counter(frame.label for frame in frames)
    return tuple(sorted(counts, key=lambda name: (-counts[name], name)))


def fingerprint(frames: Sequence[Frame]) -> str:
    """One hash over names, labels, boxes and picture contents: equal for equal data wherever it lies."""
    digest = hashlib.sha256()
    for frame in frames:
        digest.update(f"{frame.path.name}|{frame.label}|{frame.box}|".encode() + frame.picture.content)
    return digest.hexdigest()[:16]
