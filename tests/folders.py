"""Folders of frames in every format: good ones, and what is done to them to make one thing in them bad."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from PIL import Image

from milair import MilairError
from milair.boxes import Box
from milair.frames.frame import Frame
from milair.frames.pictures import Picture
from milair.frames.read import check, read

WIDTH, HEIGHT = 80, 60
BOX = ("xmin", "ymin", "xmax", "ymax")
Thing = tuple[str, str, Box]  # picture, class, box in pixels
THINGS: tuple[Thing, ...] = (
    ("a.png", "f16", (10, 20, 30, 40)),
    ("b.png", "f15", (1, 1, 5, 5)),
    ("c.png", "f16", (2, 3, 40, 50)),
)


def made_up(name: str, label: str, box: Box = (0, 0, 1, 1)) -> Frame:
    """A frame of 80x60 whose picture is no file."""
    return Frame(Picture(Path(name), WIDTH, HEIGHT, "RGB", 1, name.encode(), b""), label, box)


def pictures(folder: Path) -> Path:
    """The pictures that THINGS name."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name, colour in zip("abc", ("red", "green", "blue"), strict=True):
        Image.new("RGB", (WIDTH, HEIGHT), colour).save(folder / "images" / f"{name}.png")
    return folder


def competition(folder: Path, things: Sequence[Thing]) -> None:
    table(folder / "train.csv", ("filename", "class", *BOX), [(name, label, *box) for name, label, box in things])


def with_split(folder: Path, things: Sequence[Thing]) -> None:
    rows = [(Path(name).stem, WIDTH, HEIGHT, label, *box, "train") for name, label, box in things]
    table(folder / "labels_with_split.csv", ("filename", "width", "height", "class", *BOX, "split"), rows)


def single(folder: Path, things: Sequence[Thing]) -> None:
    for name, label, box in things:
        stem = Path(name).stem
        header = ("filename", "width", "height", "class", *BOX)
        table(folder / f"{stem}.csv", header, [(stem, WIDTH, HEIGHT, label, *box)])


def coco(folder: Path, things: Sequence[Thing]) -> None:
    labels = sorted({label for _, label, _ in things})
    document = {
        "images": [
            {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}
            for number, (name, _, _) in enumerate(things, 1)
        ],
        "categories": [{"id": number, "name": label} for number, label in enumerate(labels, 1)],
        "annotations": [
            {
                "id": number,
                "image_id": number,
                "category_id": labels.index(label) + 1,
                "bbox": [x, y, right - x, end - y],
            }
            for number, (_, label, (x, y, right, end)) in enumerate(things, 1)
        ],
    }
    (folder / "coco.json").write_text(json.dumps(document))


def voc(folder: Path, things: Sequence[Thing]) -> None:
    (folder / "annotations").mkdir(exist_ok=True)
    for name, label, box in things:
        root = ElementTree.Element("annotation")
        ElementTree.SubElement(root, "filename").text = name
        size = ElementTree.SubElement(root, "size")
        thing = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(thing, "name").text = label
        bounds = ElementTree.SubElement(thing, "bndbox")
        for parent, names, values in ((size, ("width", "height"), (WIDTH, HEIGHT)), (bounds, BOX, box)):
            for tag, value in zip(names, values, strict=True):
                ElementTree.SubElement(parent, tag).text = str(value)
        ElementTree.ElementTree(root).write(folder / "annotations" / f"{Path(name).stem}.xml", encoding="utf-8")


def yolo(folder: Path, things: Sequence[Thing]) -> None:
    labels = sorted({label for _, label, _ in things})
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "data.yaml").write_text(yaml.safe_dump({"nc": len(labels), "names": labels}))
    for name, label, (x, y, right, end) in things:
        shares = ((x + right) / 2 / WIDTH, (y + end) / 2 / HEIGHT, (right - x) / WIDTH, (end - y) / HEIGHT)
        line = " ".join([str(labels.index(label)), *(f"{share:.6f}" for share in shares)])
        (folder / "labels" / f"{Path(name).stem}.txt").write_text(line + "\n")


Writer = Callable[[Path, Sequence[Thing]], None]
WRITERS: tuple[Writer, ...] = (competition, with_split, single, coco, voc, yolo)


def table(file: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as opened:
        csv.writer(opened, lineterminator="\n").writerows([header, *rows])


Change = Callable[[Path], object]


def put(name: str, content: str | bytes) -> Change:
    """Writes a file."""
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(data)


def swap(name: str, old: str, new: str) -> Change:
    """Replaces a piece of a file."""

    def change(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new), encoding="utf-8")

    return change


def recoded(name: str, encoding: str, old: str = "", new: str = "") -> Change:
    """Writes a file anew in another encoding, with a piece replaced."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_text().replace(old, new).encode(encoding))


def half(name: str) -> Change:
    """Cuts a file in the middle."""

    def change(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2])

    return change


def patched(*path: str | int, to: Any) -> Change:
    """Sets a value in coco.json."""

    def change(folder: Path) -> None:
        document = json.loads((folder / "coco.json").read_text())
        place = document
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to
        (folder / "coco.json").write_text(json.dumps(document))

    return change


def gone(name: str) -> Change:
    return lambda folder: (folder / name).unlink()


def instead(name: str, make: Change) -> Change:
    """Puts something else where a file was: `make` is called with its path."""
    return both(gone(name), lambda folder: make(folder / name))


def both(*changes: Change) -> Change:
    return lambda folder: [change(folder) for change in changes]


@dataclass(frozen=True)
class Bad:
    """One thing wrong in a good folder: what is done to it, and the one line to be read then.

    D is the folder; … stands for words of another library, or for what was cut out of a long line."""

    name: str
    write: Writer
    change: Change
    line: str
    good: int = 2  # labelled frames that are still counted
    objects: str = "largest"

    def __str__(self) -> str:
        return f"{self.write.__name__}: {self.name}"

    def make(self, folder: Path) -> Path:
        self.write(pictures(folder), THINGS)
        self.change(folder)
        return folder

    def says(self, line: str, folder: Path) -> bool:
        pattern = ".*".join(map(re.escape, self.line.split("…")))
        return re.fullmatch(pattern, line.replace(str(folder), "D")) is not None


def held(bad: Bad, folder: Path) -> None:
    """One line, which can be printed, from `check` and from `read`; the other frames are good."""
    bad.make(folder)
    frames, faults = check(folder, bad.objects)
    lines = [str(fault).replace(str(folder), "D") for fault in faults]
    assert len(lines) == 1, lines
    assert bad.says(str(faults[0]), folder), lines[0]
    assert lines[0].isprintable()
    assert len(lines[0]) < 600
    assert len(frames.labelled) == bad.good
    with pytest.raises(MilairError) as refused:
        read(folder, bad.objects)
    assert str(refused.value) == str(faults[0])
