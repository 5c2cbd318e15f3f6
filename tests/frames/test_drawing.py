"""Boxes and sheets, as they are drawn."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from milair.frames import sample
from milair.frames.drawing import draw_box, duplicate_sheets, label_sheets
from milair.frames.frame import Split
from milair.frames.pictures import cache_folder
from milair.frames.read import read


def test_a_box_is_drawn_where_it_is() -> None:
    picture = Image.new("RGB", (80, 60))
    draw_box(picture, (20, 30, 60, 50), "f16", "#ff0000")
    red = (255, 0, 0)
    assert all(picture.getpixel(corner) == red for corner in ((20, 30), (59, 30), (20, 49), (59, 49)))
    assert picture.getpixel((19, 40)) == picture.getpixel((60, 40)) == picture.getpixel((40, 40)) == (0, 0, 0)


def test_every_frame_is_on_a_sheet_and_near_duplicates_are_side_by_side(tmp_path: Path) -> None:
    frames = read(sample.write(cache_folder() / "tiny", labelled=24, unlabelled=2)).labelled
    sheets = label_sheets(frames * 3, tmp_path / "drawn")
    assert [sheet.name for sheet in sheets] == ["labels-1.jpeg", "labels-2.jpeg"]
    assert [opened(sheet).size for sheet in sheets] == [(1920, 8 * 180), (1920, 4 * 180)]

    assert duplicate_sheets(Split(frames[:18], frames[18:]), tmp_path / "drawn") == []
    twins = Split(frames[:4], (*frames[2:4], *frames[20:]))
    (sheet,) = duplicate_sheets(twins, tmp_path / "drawn")
    drawn = opened(sheet)
    assert drawn.size == (1920, 180)
    assert [side(drawn, 320 * number + 300) for number in range(4)] == ["training", "validation"] * 2


def opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")


def side(sheet: Image.Image, x: int) -> str:
    """Which of the two colours frames the tile there."""
    red, _, blue = sheet.crop((x, 0, x + 1, 1)).resize((1, 1)).tobytes()
    return "training" if blue > red else "validation"
