"""Pictures that are none, each refused in one line; and odd ones that are good, seen as a viewer shows them."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from folders import Bad, Change, both, coco, competition, gone, half, held, instead, put, swap, voc, with_split, yolo
from numpy.typing import NDArray
from PIL import ExifTags, Image

from milair.frames.pictures import open_rgb
from milair.frames.read import check

pytestmark = pytest.mark.timeout(60)  # a pipe that is read is read for ever

PICTURE = "images/c.png"
COLOURS = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8).repeat(10, 0).repeat(10, 1)


def encoded(picture: Image.Image, kind: str, turn: int | None = None) -> bytes:
    """A picture file, with an orientation in its EXIF."""
    file, exif = io.BytesIO(), Image.Exif()
    if turn is not None:
        exif[ExifTags.Base.Orientation] = turn
    picture.save(file, kind, exif=exif)
    return file.getvalue()


def stored(mode: str = "RGB", kind: str = "PNG", turn: int | None = None) -> Change:
    """c.png of another mode, kind or orientation."""
    return put(PICTURE, encoded(Image.fromarray(COLOURS).convert(mode), kind, turn))


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width: int, height: int, bits: int, colours: int, rows: bytes) -> bytes:
    """A PNG, of `colours` 0 (grey) or 2 (RGB)."""
    header = struct.pack(">IIBBBBB", width, height, bits, colours, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def less(count: int) -> Change:
    """c.png without its last bytes."""
    return lambda folder: (folder / PICTURE).write_bytes((folder / PICTURE).read_bytes()[:-count])


def beside(name: str, make: Change) -> Change:
    return lambda folder: make(folder / "images" / name)


BOMB = png(30_000, 30_000, 8, 0, bytes(100 * 30_001))
EPS = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 80 60\n%%EndComments\n%%EOF\n"
NOT = "is not a readable picture"
CUT = f"{NOT} (image file is truncated…)"
NO_FILE = "is a folder, a pipe or a device; it must be a file"
UNREADABLE = [
    Bad(name, competition, change, f"D/train.csv, row 4: D/{PICTURE} {rule}")
    for name, change, rule in (
        ("empty file", put(PICTURE, ""), f"{NOT} (it is empty, 0 bytes)"),
        ("text", put(PICTURE, "404 not found"), f"{NOT} (of no kind that Pillow knows)"),
        ("SVG", put(PICTURE, "<svg xmlns='http://www.w3.org/2000/svg'/>"), f"{NOT} (of no kind that Pillow knows)"),
        ("EPS", put(PICTURE, EPS), "is a program for printers (EPS); save it as PNG"),
        ("PNG cut", half(PICTURE), CUT),
        ("JPEG cut", both(stored(kind="JPEG"), half(PICTURE)), CUT),
        ("JPEG cut at its end", both(stored(kind="JPEG"), less(3)), CUT),
        ("GIF cut", both(stored("P", "GIF"), half(PICTURE)), CUT),
        ("BMP cut", both(stored(kind="BMP"), half(PICTURE)), CUT),
        ("TIFF cut", both(stored(kind="TIFF"), half(PICTURE)), f"{NOT} (…)"),
        ("WebP cut", both(stored(kind="WEBP"), half(PICTURE)), f"{NOT} (…)"),
        ("PNG of a header", put(PICTURE, b"\x89PNG\r\n\x1a\n"), f"{NOT} (of no kind that Pillow knows)"),
        ("PNG without width", put(PICTURE, png(0, 60, 8, 0, b"")), f"{NOT} (of no kind that Pillow knows)"),
        (
            "bomb",
            put(PICTURE, BOMB),
            "is too large to decode safely (Image size (900000000 pixels) exceeds limit of …)",
        ),
        ("32-bit numbers", stored("I", "TIFF"), "holds numbers of 32 bits (mode I); save it with 8 or 16"),
        ("32-bit fractions", stored("F", "TIFF"), "holds numbers of 32 bits (mode F); save it with 8 or 16"),
        ("folder", instead(PICTURE, Path.mkdir), NO_FILE),
        ("pipe", instead(PICTURE, os.mkfifo), NO_FILE),
        ("endless device", instead(PICTURE, lambda file: file.symlink_to("/dev/zero")), NO_FILE),
        ("link to nothing", instead(PICTURE, lambda file: file.symlink_to("no")), "cannot be read (No such file …)"),
        ("link to itself", instead(PICTURE, lambda file: file.symlink_to("c.png")), "cannot be read (Too many …)"),
        ("pipe by its stem", both(swap("train.csv", "c.png", "c"), instead(PICTURE, os.mkfifo)), NO_FILE),
        (
            "two objects in it",
            both(swap("train.csv", "50\n", "50\nc.png,f15,1,1,9,9\n"), put(PICTURE, "")),
            f"{NOT} (it …)",
        ),
    )
]
SHOWN = "c.png has an EXIF orientation of 6 and is shown as 60x80; label it as it is shown"
OTHERS = [
    Bad("missing", voc, gone(PICTURE), "D/annotations/c.xml, object 1: there is no picture D/images/c.png"),
    Bad("cut", coco, half(PICTURE), f"D/coco.json, annotations[2]: D/images/c.png {CUT}"),
    Bad("empty", yolo, put(PICTURE, ""), f"D/labels/c.txt, row 1: D/images/c.png {NOT} (it is empty, 0 bytes)"),
    Bad(
        "cut, without labels", yolo, both(put("labels/c.txt", ""), half(PICTURE)), f"D/labels/c.txt: D/{PICTURE} {CUT}"
    ),
    Bad("cut, never named", voc, put("images/d.png", "x"), f"D/images/d.png: D/images/d.png {NOT} (of no kind …)", 3),
    Bad("pipe, never named", yolo, beside("d.png", os.mkfifo), f"D/images/d.png: D/images/d.png {NO_FILE}", 3),
    Bad(
        "stored size, JPEG",
        with_split,
        stored(kind="JPEG", turn=6),
        f"D/….csv, row 4: its size is stated as 80x60, but {SHOWN}",
    ),
    Bad(
        "stored size, TIFF",
        with_split,
        stored(kind="TIFF", turn=6),
        "D/….csv, row 4: its size is stated as 80x60, but c.png is 60x80",
    ),
    Bad(
        "box of the stored one",
        competition,
        both(swap("train.csv", "40,50", "70,50"), stored(turn=8)),
        "D/train.csv, row 4: box (2, 3, 70, 50) is outside its 60x80 picture c.png",
    ),
]


@pytest.mark.parametrize("bad", UNREADABLE + OTHERS, ids=str)
def test_one_line_says_what_is_wrong(bad: Bad, tmp_path: Path) -> None:
    held(bad, tmp_path)


def test_a_picture_that_may_not_be_read(tmp_path: Path) -> None:
    line = f"D/train.csv, row 4: D/{PICTURE} cannot be read (Permission denied)"
    bad = Bad("", competition, lambda folder: (folder / PICTURE).chmod(0), line)
    if os.access(bad.make(tmp_path / "tried") / PICTURE, os.R_OK):
        pytest.skip("this user may read everything")
    held(bad, tmp_path / "frames")


def turned(shown: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """How a camera stores what is to be shown: the EXIF standard's rows and columns, undone."""
    across, over = np.swapaxes(shown, 0, 1), np.rot90
    made = {
        1: shown,
        2: shown[:, ::-1],
        3: over(shown, 2),
        4: shown[::-1],
        5: across,
        6: over(shown, 1),
        7: over(across, 2),
        8: over(shown, -1),
    }
    return np.ascontiguousarray(made[orientation])


@pytest.mark.parametrize("orientation", [6, 7])
@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK"])
def test_a_turned_tiff_of_other_colours_is_not_garbled(tmp_path: Path, mode: str, orientation: int) -> None:
    whole = Image.fromarray(COLOURS).convert(mode)
    data = encoded(Image.fromarray(turned(np.asarray(whole), orientation), mode), "TIFF", orientation)
    (tmp_path / "turned").write_bytes(data)
    assert (np.asarray(open_rgb(tmp_path / "turned")) == np.asarray(whole.convert("RGB"))).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_a_turned_picture_is_seen_as_it_is_shown(tmp_path: Path, kind: str, orientation: int) -> None:
    data = encoded(Image.fromarray(turned(COLOURS, orientation)), kind, orientation)
    found, faults = check(Bad("", competition, put(PICTURE, data), "").make(tmp_path))
    assert faults == []
    assert (found.labelled[2].width, found.labelled[2].height) == (80, 60)
    seen = np.asarray(open_rgb(found.labelled[2].path)).astype(int)
    centres = np.s_[5::10, 5::10]  # JPEG and WebP blur the borders of colours
    assert abs(seen - COLOURS)[centres].max() <= (0 if kind in ("PNG", "TIFF") else 60)


@pytest.mark.parametrize(
    ("mode", "kind", "pixel", "shown"),
    [
        ("1", "PNG", 1, (255, 255, 255)),
        ("L", "PNG", 90, (90, 90, 90)),
        ("L", "JPEG", 90, (90, 90, 90)),
        ("LA", "PNG", (90, 10), (90, 90, 90)),
        ("RGBA", "PNG", (200, 30, 60, 0), (200, 30, 60)),
        ("P", "PNG", 0, (200, 30, 60)),
        ("P", "GIF", 0, (200, 30, 60)),
        ("CMYK", "TIFF", (0, 255, 255, 0), (255, 0, 0)),
        ("CMYK", "JPEG", (0, 255, 255, 0), (255, 0, 0)),
        ("I;16", "PNG", 0x5A7F, (90, 90, 90)),
        ("I;16", "TIFF", 0x5A7F, (90, 90, 90)),
    ],
)
def test_other_colours_are_seen_as_rgb(
    tmp_path: Path, mode: str, kind: str, pixel: int | tuple[int, ...], shown: tuple[int, int, int]
) -> None:
    picture = Image.new(mode, (80, 60), pixel)
    if mode == "P":
        picture.putpalette((200, 30, 60))
    found, faults = check(Bad("", competition, put(PICTURE, encoded(picture, kind)), "").make(tmp_path))
    assert faults == []
    seen = open_rgb(found.labelled[2].path)
    assert seen.mode == "RGB"
    assert seen.getpixel((40, 30)) == pytest.approx(shown, abs=2)
    assert found.warnings == (
        f"1 frame has other colours than RGB ({mode}) and are read as RGB, 8 bits, without alpha",
    )


def test_sixteen_bits_of_each_colour(tmp_path: Path) -> None:
    row = b"\0" + struct.pack(">HHH", 0xC87F, 0x1E00, 0x3CFF) * 80
    found, faults = check(Bad("", competition, put(PICTURE, png(80, 60, 16, 2, row * 60)), "").make(tmp_path))
    assert faults == []
    assert open_rgb(found.labelled[2].path).getpixel((40, 30)) == (200, 30, 60)


@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0nonsense", b"\xff" * 99]
)
def test_a_broken_exif_turns_nothing(tmp_path: Path, exif: bytes) -> None:
    whole = encoded(Image.fromarray(COLOURS), "PNG")
    data = whole[:33] + chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")) + whole[33:]
    found, faults = check(Bad("", competition, put(PICTURE, data), "").make(tmp_path))
    assert faults == []
    assert (np.asarray(open_rgb(found.labelled[2].path)) == COLOURS).all()
