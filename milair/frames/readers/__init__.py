"""Annotation formats: a reader for each, from a folder to rows as its files state them.

A reader yields a Row for each object and each picture without one, or a Fault for what is neither, and goes on.
Whether the picture is there and the box lies inside it is asked in read.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from milair.errors import MilairError
from milair.frames.readers import coco, reading, tables, voc, yolo


@dataclass(frozen=True, slots=True)
class Layout:
    """A format: its name, the files by which a folder is known to have it, and its reader."""

    name: str
    files: Callable[[Path], Sequence[Path]]  # all that are read, those with labels first
    rows: Callable[[Path, Sequence[Path]], reading.Rows]


LAYOUTS = (  # the first that fits is read
    Layout("labels_with_split.csv", tables.split_files, tables.rows),
    Layout("competition CSV", tables.competition_files, tables.rows),
    Layout("COCO JSON", coco.files, coco.rows),
    Layout("Pascal VOC", voc.files, voc.rows),
    Layout("YOLO text", yolo.files, yolo.rows),
    Layout("one CSV for each picture", tables.single_files, tables.rows),
)


def find(folder: Path) -> list[tuple[Layout, Sequence[Path]]]:
    """The layouts that a folder has, with their files; the first is to be read. MilairError if it has none."""
    if not folder.is_dir():
        raise MilairError(f"{folder}: there is no such folder")
    if reading.CONTROL.search(str(folder)):
        raise reading.Fault(folder, "a name with characters that cannot be printed; rename the folder")
    layouts = [(layout, files) for layout in LAYOUTS if (files := layout.files(folder))]
    if not layouts:
        raise MilairError(
            f"{folder}: no labelled frames there; milair reads train.csv ({','.join(tables.COMPETITION)}), "
            "labels_with_split.csv, COCO JSON, Pascal VOC (annotations/*.xml), YOLO text (labels/*.txt and images/) "
            "and one CSV for each picture"
        )
    return layouts
