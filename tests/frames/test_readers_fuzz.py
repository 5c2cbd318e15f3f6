"""Whatever a folder holds, frames and lines come of it and nothing else; and what is written is what is read."""

from __future__ import annotations

import io
import json
import re
import unicodedata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from folders import THINGS, WRITERS, Thing, Writer, coco, competition, pictures, voc, yolo
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image
from strategies import pixel_boxes

from milair import MilairError
from milair.boxes import to_shares
from milair.frames.frame import fingerprint
from milair.frames.pictures import open_rgb
from milair.frames.read import check

SIGNS = r""", ; : / \ | ~ % { } [ ] " ' < > </ &x; <!-- ]]> <object/> &#0; *a &a <<: !!int !!binary \ud800 <a>"""
WORDS = 'a a.png b.png d.png ../a.png C: . f15 f16 é train val 0 1 -1 3 1e999 nan -inf 0x1 1_0 null true NaN "id"'
ODD = ("", " ", "\t", "\n", "\r", "\0", "\x1b[2J", "\u202e", "\ufeff", "? ", "- ", "9" * 5000, "9" * 400, "[" * 300)
TOKENS = (*SIGNS.split(), *WORDS.split(), *ODD)
BYTES = (b"\xff", b"\xfe\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\x80", b"\xed\xa0\x80", b"\0")


def stated(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".png")


def sound(folder: Path) -> None:
    """Frames that can be used and lines that can be read, or one such line."""
    try:
        frames, faults = check(folder)
        lines = [str(fault) for fault in faults]
        assert lines or frames.labelled
    except MilairError as error:
        lines, frames = [str(error)], None
    for line in lines:
        assert not {unicodedata.category(letter) for letter in line} & {"Cc", "Cs", "Zl", "Zp"}, repr(line)
        assert 0 < len(line) < 2000
    if frames is None or not frames.labelled:
        return
    for frame in frames.labelled:
        xmin, ymin, xmax, ymax = frame.box
        assert 0 <= xmin < xmax <= 1
        assert 0 <= ymin < ymax <= 1
        assert frame.label.strip()
        assert frame.path.is_file()
        assert open_rgb(frame.path).size == (frame.width, frame.height)
    assert all(path.is_file() for path in frames.unlabelled)
    assert len(fingerprint(frames.labelled)) == 16
    assert frames.describe().encode()


def judge(file: Path, content: bytes, folder: Path) -> None:
    """Is a folder sound with another content in one of its files? Then all is as it was."""
    good = file.read_bytes()
    file.write_bytes(content)
    try:
        sound(folder)
    finally:
        file.write_bytes(good)


@st.composite
def mutated(draw: st.DrawFn, seed: bytes) -> bytes:
    """A file with some of its words replaced, deleted, doubled or added to; or cut."""
    words = re.findall(rb"\w+|\s+|.", seed, re.DOTALL)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(words) - 1))
        new = [draw(st.sampled_from([token.encode() for token in TOKENS] + [*BYTES, *words]))]
        old = words[at : at + 1]
        words[at : at + 1] = draw(st.sampled_from([new, [], old * 2, new + old, old + new]))
        words = words or [b""]
    whole = b"".join(words)
    return whole[: draw(st.integers(0, len(whole)))] if draw(st.integers(0, 5)) == 0 else whole


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[Writer, Path]:
    """A good folder in every format."""
    made = {write: pictures(tmp_path_factory.mktemp(write.__name__)) for write in WRITERS}
    for write, folder in made.items():
        write(folder, THINGS)
        sound(folder)
    return made


@pytest.mark.parametrize("write", WRITERS)
@given(data=st.data())
def test_words_and_bytes_of_a_file(folders: dict[Writer, Path], write: Writer, data: st.DataObject) -> None:
    folder = folders[write]
    file = data.draw(st.sampled_from(stated(folder)))
    judge(file, data.draw(mutated(file.read_bytes())), folder)


cells = st.sampled_from(TOKENS) | st.text(max_size=5)
rows = st.lists(st.lists(cells, max_size=8).map(",".join) | st.just("a.png,f16,1,2,3,4"), max_size=5)


@given(rows, st.none() | rows, st.none() | rows)
def test_rows_of_tables(
    folders: dict[Writer, Path], train: list[str], test: list[str] | None, split: list[str] | None
) -> None:
    folder = folders[competition]
    tables = {"train.csv": "filename,class,xmin,ymin,xmax,ymax", "test.csv": "filename", "split.csv": "filename,split"}
    written = {
        folder / name: "\n".join([header, *lines]).encode("utf-8", "surrogatepass")
        for (name, header), lines in zip(tables.items(), (train, test, split), strict=True)
        if lines is not None
    }
    try:
        for file, content in written.items():
            file.write_bytes(content)
        sound(folder)
    finally:
        for file in written:
            file.unlink()
        competition(folder, THINGS)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(TOKENS) | st.text(max_size=5)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner))


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The paths to everything in a JSON document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


@given(data=st.data())
def test_values_of_coco(folders: dict[Writer, Path], data: st.DataObject) -> None:
    file = folders[coco] / "coco.json"
    document = {"all": json.loads(file.read_text())}
    for _ in range(data.draw(st.integers(1, 3))):
        *path, last = ("all", *data.draw(st.sampled_from(places(document["all"]))))
        place: Any = document
        for key in path:
            place = place[key]
        place[last] = data.draw(values | st.sampled_from([1, 2, 3, "f16", "a.png"]))
    judge(file, json.dumps(document["all"]).encode(), folders[coco])


TAGS = "annotation filename size width height object name bndbox xmin ymin xmax ymax a"
tags = st.sampled_from(TAGS.split())
words = st.sampled_from(["c.png", "d", "f16", "1", "40", "80", "60", "nan", "", "../c.png"]) | st.text(
    st.characters(min_codepoint=32, exclude_categories=["Cs"]), max_size=4
)


@st.composite
def trees(draw: st.DrawFn, depth: int = 0) -> ElementTree.Element:
    made = ElementTree.Element("annotation" if depth == 0 else draw(tags))
    made.text = draw(words)
    made.extend(draw(trees(depth + 1)) for _ in range(draw(st.integers(0, 4 - depth))))
    return made


@given(trees(), st.sampled_from(["utf-8", "utf-16", "latin-1", "us-ascii", "cp037"]))
def test_trees_of_xml(folders: dict[Writer, Path], tree: ElementTree.Element, encoding: str) -> None:
    file = folders[voc] / "annotations" / "c.xml"
    if tree.find("filename") is None:
        ElementTree.SubElement(tree, "filename").text = "c.png"
    judge(file, ElementTree.tostring(tree, encoding), folders[voc])


yaml_words = st.sampled_from([*TOKENS, "names", "names:", "- ", "\n- ", ": ", "[", "]", "{", "}", "\n  ", "0: ", "1: "])


@given(st.lists(yaml_words, max_size=12).map("".join) | values.map(lambda value: json.dumps({"names": value})))
def test_names_of_yolo(folders: dict[Writer, Path], text: str) -> None:
    judge(folders[yolo] / "data.yaml", text.encode("utf-8", "surrogatepass"), folders[yolo])


def encoded(kind: str, mode: str) -> bytes:
    """A picture of 80x60 that lies on its side where its kind can say so."""
    file, exif = io.BytesIO(), Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.effect_noise((60, 80), 60).convert(mode).save(file, kind, exif=exif)
    return file.getvalue()


KINDS = {"PNG": "P", "JPEG": "RGB", "GIF": "P", "BMP": "RGB", "WEBP": "RGB", "TIFF": "L"}
PICTURES = [encoded(kind, mode) for kind, mode in KINDS.items()]


@given(data=st.data())
def test_bytes_of_a_picture(folders: dict[Writer, Path], data: st.DataObject) -> None:
    folder = folders[competition]  # which states no sizes
    picture = bytearray(data.draw(st.sampled_from(PICTURES)))
    for _ in range(data.draw(st.integers(0, 6))):
        near = data.draw(st.sampled_from([60, 300, len(picture)]))  # most of what matters stands at the front
        picture[data.draw(st.integers(0, min(near, len(picture)) - 1))] = data.draw(st.integers(0, 255))
    judge(folder / "images" / "c.png", bytes(picture), folder)


@st.composite
def things(draw: st.DrawFn) -> list[Thing]:
    """An object in each of some pictures."""
    names = draw(st.lists(st.sampled_from(["a.png", "b.png", "c.png"]), unique=True, min_size=1))
    letters = st.characters(min_codepoint=32, exclude_categories=["Cc", "Cs", "Cf", "Zl", "Zp"])
    labels = st.text(letters, min_size=1, max_size=8).filter(lambda label: label == label.strip())
    return [(name, draw(labels), draw(pixel_boxes(80, 60))) for name in names]


@pytest.mark.parametrize("write", WRITERS)
@given(written=things())
def test_what_is_written_is_what_is_read(folders: dict[Writer, Path], write: Writer, written: list[Thing]) -> None:
    folder = folders[write]
    for file in stated(folder):
        file.unlink()
    write(folder, written)
    frames, faults = check(folder)
    write(folder, THINGS)
    assert [str(fault) for fault in faults] == []
    read = {frame.path.name: (frame.label, frame.box) for frame in frames.labelled}
    assert read.keys() == {name for name, _, _ in written}
    for name, label, box in written:
        shares = to_shares(box, 80, 60)
        assert read[name] == (label, pytest.approx(shares, abs=2e-6) if write is yolo else shares)
