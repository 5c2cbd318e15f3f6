"""Frames as values: how they differ from those that a study keeps, and whether their files have changed."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from folders import WRITERS, Bad, Change, Writer, both, competition, gone, put, swap, voc, with_split, yolo
from PIL import Image

from milair.frames.frame import Frame, label_difference, label_rows
from milair.frames.read import read


def good(folder: Path, write: Writer = competition) -> Path:
    return Bad("", write, lambda _: None, "").make(folder)


def another_picture(folder: Path) -> None:
    Image.new("RGB", (80, 60), "white").save(folder / "images" / "b.png")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda _: None, None),
        (swap("train.csv", "b.png,f15", "b.png,f18"), "D/train.csv, row 3: b.png is f18 ({b}), it was f15 ({b})"),
        (
            swap("train.csv", "1,1,5,5", "1,1,9,5"),
            "D/train.csv, row 3: b.png is f15 (0.0125, 0.01667, 0.1125, 0.08333), it was f15 ({b})",
        ),
        (swap("train.csv", "b.png,f15,1,1,5,5\n", ""), "b.png has no label any more"),
        (
            both(
                lambda folder: Image.new("1", (80, 60)).save(folder / "images" / "d.png"),
                swap("train.csv", "c.png,", "d.png,f16,1,1,5,5\nc.png,"),
            ),
            "D/train.csv, row 4: d.png is new",
        ),
        (another_picture, "D/train.csv, row 3: the picture b.png is another one than it was"),
        (
            swap("train.csv", "b.png,f15,1,1,5,5\nc.png,f16,2,3,40,50", "c.png,f16,2,3,40,50\nb.png,f15,1,1,5,5"),
            "D/train.csv, row 3: c.png comes in another order than it did",
        ),
    ],
)
def test_the_first_difference_of_labels_is_one_phrase(tmp_path: Path, change: Change, says: str | None) -> None:
    folder = good(tmp_path)
    rows = json.loads(json.dumps(label_rows(read(folder).labelled)))
    change(folder)
    difference = label_difference(rows, read(folder).labelled)
    box = "0.0125, 0.01667, 0.0625, 0.08333"
    assert (difference and difference.replace(str(folder), "D")) == (says and says.format(b=box))


def test_pictures_of_one_name_in_two_folders_are_told_apart(tmp_path: Path) -> None:
    first, second, third = read(good(tmp_path)).labelled

    def renamed(frame: Frame, folder: str) -> Frame:
        return replace(frame, picture=replace(frame.picture, path=tmp_path / folder / "a.png"))

    frames = (renamed(first, "one"), renamed(second, "two"), third)
    rows = label_rows(frames)
    assert label_difference(rows, frames) is None
    assert label_difference(rows, frames[1:]) == (
        f"{tmp_path}/train.csv, row 3: a.png is f15 (0.0125, 0.01667, 0.0625, 0.08333), "
        "it was f16 (0.125, 0.3333, 0.375, 0.6667)"
    )
    assert label_difference(rows, frames[::2]) == "a.png has no label any more"


@pytest.mark.parametrize("write", WRITERS)
def test_files_are_all_that_was_read_and_change_with_any_of_it(write: Writer, tmp_path: Path) -> None:
    folder = good(tmp_path, write)
    (folder / "split.csv").write_text("filename,split\na,train\nb,train\nc,val\n")
    if write is competition:
        (folder / "test.csv").write_text("filename\na.png\n")
    if write is voc:
        (folder / "ImageSets" / "Main").mkdir(parents=True)
        (folder / "ImageSets" / "Main" / "train.txt").write_text("a\n")
    frames = read(folder)
    written = {path for path in folder.rglob("*") if path.is_file() and path.suffix != ".png"}
    assert set(frames.files) == written
    assert not frames.changed()
    for path in (*frames.files, *(frame.path for frame in frames.labelled)):
        stat = path.stat()
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
        assert frames.changed()
        frames = read(folder)
        assert not frames.changed()


@pytest.mark.parametrize(
    ("write", "change"),
    [
        (competition, put("test.csv", "filename\na.png\n")),
        (voc, put("split.csv", "filename,split\na,val\n")),
        (voc, put("annotations/d.xml", "")),
        (yolo, put("labels/d.txt", "")),
        (yolo, gone("labels/c.txt")),
        (competition, gone("images/c.png")),
        (with_split, gone("labels_with_split.csv")),
    ],
)
def test_files_that_come_and_go_are_a_change(write: Writer, change: Callable[[Path], object], tmp_path: Path) -> None:
    frames = read(good(tmp_path, write))
    change(tmp_path)
    assert frames.changed()


def test_other_files_are_no_change(tmp_path: Path) -> None:
    frames = read(good(tmp_path))
    (tmp_path / "notes.md").write_text("")
    (tmp_path / "images" / "z.png").write_text("")
    assert not frames.changed()
    assert frames == read(tmp_path)


def test_frames_of_one_class_say_what_that_means(tmp_path: Path) -> None:
    folder = good(tmp_path)
    assert "one class" not in read(folder).describe()
    swap("train.csv", "f15", "f16")(folder)
    assert "one class: accuracy is always 1, and the search is for the box" in read(folder).describe()
