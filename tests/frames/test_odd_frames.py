"""What looks odd and is good: the same three frames come of it, and no fault."""

from __future__ import annotations

import codecs
import json
import os
from pathlib import Path

import pytest
from folders import (
    Bad,
    Change,
    Writer,
    both,
    coco,
    competition,
    gone,
    patched,
    put,
    recoded,
    single,
    swap,
    voc,
    with_split,
    yolo,
)
from PIL import Image

from milair.frames.read import check

HEADER = "filename,class,xmin,ymin,xmax,ymax"
XML = "annotations/c.xml"
UTF_16 = '<?xml version="1.0" encoding="utf-16"?><annotation'
LATIN_1 = '<?xml version="1.0" encoding="latin-1"?><!-- señal --><annotation'
OUTSIDE = '<!DOCTYPE annotation SYSTEM "http://localhost:9/voc.dtd"><annotation'


def moved(old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        (folder / new).parent.mkdir(exist_ok=True)
        (folder / old).rename(folder / new)

    return change


def linked(folder: Path) -> None:
    """c.png lies elsewhere, and a link to it in the folder."""
    target = folder.parent / f"{folder.name}-c.png"
    (folder / "images" / "c.png").rename(target)
    (folder / "images" / "c.png").symlink_to(target)


def absolute(folder: Path) -> None:
    swap("train.csv", "c.png", str(folder / "images" / "c.png"))(folder)


def shortened(folder: Path) -> None:
    """coco.json without its last annotation."""
    document = json.loads((folder / "coco.json").read_text())
    document["annotations"].pop()
    (folder / "coco.json").write_text(json.dumps(document))


def larger(folder: Path) -> None:
    Image.new("L", (160, 120)).save(folder / "images" / "c.png")


ODD: tuple[tuple[str, Writer, Change], ...] = (
    ("BOM", competition, recoded("train.csv", "utf-8-sig")),
    ("CRLF", competition, swap("train.csv", "\n", "\r\n")),
    ("lines end as on an old Macintosh", competition, swap("train.csv", "\n", "\r")),
    ("empty lines", competition, swap("train.csv", "\n", "\n\n")),
    ("a comma at each end", competition, swap("train.csv", "\n", ",\n")),
    ("quotes", competition, swap("train.csv", "c.png,f16", '"c.png","f16"')),
    ("spaces", competition, swap("train.csv", ",", " , ")),
    ("more columns", competition, swap("train.csv", "ymax", "ymax,,note")),
    ("numbers of many kinds", competition, swap("train.csv", "2,3,40,50", "+2.0,.3e1,4E1,٥٠")),
    ("names without suffix", competition, swap("train.csv", ".png", "")),
    ("a suffix in capitals", competition, both(moved("images/c.png", "images/c.PNG"), swap("train.csv", "c.png", "c"))),
    ("a path with a dot", competition, swap("train.csv", "c.png", "./c.png")),
    ("a path from the folder", competition, swap("train.csv", "c.png", "images/c.png")),
    ("an absolute path that stays", competition, absolute),
    ("a sub-folder", competition, both(moved("images/c.png", "images/x/c.png"), swap("train.csv", "c.png", "x/c.png"))),
    ("backslashes", competition, both(moved("images/c.png", "images/x/c.png"), swap("train.csv", "c.png", r"x\c.png"))),
    ("letters", competition, both(moved("images/c.png", "images/é 飛.png"), swap("train.csv", "c.png", "é 飛.png"))),
    ("a link", competition, linked),
    ("another size and colour", competition, both(larger, swap("train.csv", "2,3,40,50", "4,6,80,100"))),
    ("a pipe that is not named", competition, lambda folder: os.mkfifo(folder / "images" / "d.png")),
    ("JSON with a BOM", coco, recoded("coco.json", "utf-8-sig")),
    ("numbers as text", coco, patched("annotations", 2, "bbox", to=["2", "3", "38", "47"])),
    ("sizes of 0", coco, patched("images", 2, "width", to=0)),
    ("sizes of nothing", coco, patched("images", 2, "height", to=None)),
    ("ids as text", coco, both(patched("images", 2, "id", to="x"), patched("annotations", 2, "image_id", to="x"))),
    ("more than is needed", coco, patched("annotations", 2, "segmentation", to=[[1, 2, 3, 4]])),
    ("XML in UTF-16", voc, recoded(XML, "utf-16", "<annotation", UTF_16)),
    ("XML in latin-1", voc, recoded(XML, "latin-1", "<annotation", LATIN_1)),
    ("XML with a BOM", voc, recoded(XML, "utf-8-sig")),
    ("XML that names a server", voc, swap(XML, "<annotation", OUTSIDE)),
    ("sizes of 0 in XML", voc, swap(XML, "<width>80", "<width>0")),
    ("split.csv", voc, put("split.csv", "filename,split\na,val\nb.png,TRAIN\nimages/c.png,test ")),
    ("rows end with CRLF", yolo, swap("labels/c.txt", "\n", "\r\n\r\n")),
    ("names by number", yolo, put("data.yaml", "names:\n  0: f15\n  1: f16\n")),
    ("names out of order", yolo, put("data.yaml", "names: {1: f16, 0: f15}")),
    ("names in a text file", yolo, both(gone("data.yaml"), put("classes.txt", "f15\r\nf16\r\n\r\n"))),
    ("suffixes in rows", with_split, swap("labels_with_split.csv", "c,80", "c.png,80")),
    ("one picture without a table", single, put("images/d.png", "no picture")),
)


def seen(folder: Path) -> list[tuple[str, tuple[float, ...]]]:
    frames, faults = check(folder)
    assert [str(fault) for fault in faults] == []
    return [(frame.label, frame.box) for frame in frames.labelled]


@pytest.mark.parametrize(("name", "write", "change"), ODD, ids=[f"{write.__name__}: {name}" for name, write, _ in ODD])
def test_odd_and_good(name: str, write: Writer, change: Change, tmp_path: Path) -> None:
    plain = Bad("", write, lambda _: None, "").make(tmp_path / "plain")
    odd = Bad(name, write, change, "").make(tmp_path / "odd")
    assert seen(odd) == seen(plain)[: 2 if name == "split.csv" else 3]


def test_a_name_in_any_letters_and_words_that_yaml_would_take_for_others(tmp_path: Path) -> None:
    for number, label in enumerate(("no", "2024", "1e3", "~", "null", "señal", "飛行機", "f16 é")):
        folder = Bad("", yolo, put("data.yaml", f"names: [{label}, f16]"), "").make(tmp_path / str(number))
        assert check(folder)[0].labelled[1].label == label


def test_a_box_that_rounding_moved_over_the_edge_is_cut_off_there(tmp_path: Path) -> None:
    folder = Bad("", yolo, put("labels/c.txt", "1 0.500001 0.5 1.000002 1"), "").make(tmp_path)
    frames, faults = check(folder)
    assert (faults, frames.labelled[2].box) == ([], (0, 0, 1, 1))


@pytest.mark.parametrize(
    ("write", "change"),
    [
        (yolo, put("labels/c.txt", "")),
        (yolo, put("labels/c.txt", codecs.BOM_UTF8 + b"\r\n \n")),
        (yolo, gone("labels/c.txt")),
        (voc, put(XML, "<annotation><filename>c.png</filename></annotation>")),
        (voc, gone(XML)),
        (coco, shortened),
    ],
)
def test_pictures_without_objects_are_unlabelled(write: Writer, change: Change, tmp_path: Path) -> None:
    frames, faults = check(Bad("", write, change, "").make(tmp_path))
    assert faults == []
    assert len(frames.labelled) == 2
    assert frames.unlabelled == (tmp_path / "images" / "c.png",)


def test_a_folder_named_from_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Bad("", competition, swap("train.csv", "c.png", "../../x.png"), "").make(tmp_path / "frames")
    Image.new("1", (80, 60)).save(tmp_path / "x.png")
    monkeypatch.chdir(tmp_path / "frames")
    frames, (fault,) = check(Path())
    assert [frame.path for frame in frames.labelled] == [
        tmp_path / "frames" / "images" / name for name in ("a.png", "b.png")
    ]
    assert "leaves the folder" in str(fault)
