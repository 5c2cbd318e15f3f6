"""Boxes on pictures, and sheets of many small pictures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from milair.boxes import to_pixels
from milair.frames import duplicates
from milair.frames.frame import Frame, Split
from milair.frames.pictures import open_rgb

LINE = "#ff3b30"
LEARN, JUDGE = "#0a84ff", "#ff9f0a"  # frames on either side of a split
_TILE = 320, 180  # pixels of a picture on a sheet
_COLUMNS, _ROWS = 6, 8


def draw_box(picture: Image.Image, box: tuple[int, int, int, int], text: str, colour: str = LINE) -> None:
    """Draw a box, xmin, ymin, xmax, ymax in whole pixels, and a text at its corner into a picture."""
    pen, unit = ImageDraw.Draw(picture), max(picture.height // 180, 1)
    xmin, ymin, xmax, ymax = box
    pen.rectangle((xmin, ymin, xmax - 1, ymax - 1), outline=colour, width=unit)
    font = ImageFont.load_default(8 * unit)
    corner = (xmin, max(ymin - 11 * unit, 0))
    left, top, right, bottom = pen.textbbox(corner, text, font=font)
    pen.rectangle((left - unit, top - unit, right + unit, bottom + unit), fill=colour)
    pen.text(corner, text, fill="white", font=font)


def label_sheets(frames: Sequence[Frame], folder: Path) -> list[Path]:
    """Write labels-1.jpeg …: every frame with its box and class."""

    def tile(frame: Frame) -> Image.Image:
        picture = _small(frame)
        draw_box(picture, to_pixels(frame.box, *picture.size), frame.label)
        return picture

    return _sheets(list(map(tile, frames)), folder, "labels")


def duplicate_sheets(split: Split, folder: Path) -> list[Path]:
    """Write near-duplicates-1.jpeg …: group by group, frames to learn from in blue, those to judge by in orange."""
    frames = (*split.train, *split.val)
    groups = duplicates.groups(frames)
    sizes = Counter(groups)
    several = sorted((group, member) for member, group in enumerate(groups) if sizes[group] > 1)
    number = {group: count for count, group in enumerate(dict.fromkeys(group for group, _ in several), 1)}

    def tile(place: tuple[int, int]) -> Image.Image:
        group, member = place
        picture, frame = _small(frames[member]), frames[member]
        colour = LEARN if member < len(split.train) else JUDGE
        draw_box(picture, (0, 0, *picture.size), f"{number[group]}  {frame.label}  {frame.path.name}", colour)
        return picture

    return _sheets(list(map(tile, several)), folder, "near-duplicates")


def _small(frame: Frame) -> Image.Image:
    return ImageOps.contain(open_rgb(frame.path, _TILE), _TILE)


def _sheets(tiles: Sequence[Image.Image], folder: Path, name: str) -> list[Path]:
    """Tiles row by row, a JPEG for each so many."""
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for first in range(0, len(tiles), _COLUMNS * _ROWS):
        here = tiles[first : first + _COLUMNS * _ROWS]
        sheet = Image.new("RGB", (_COLUMNS * _TILE[0], -(-len(here) // _COLUMNS) * _TILE[1]), "white")
        for number, tile in enumerate(here):
            sheet.paste(tile, (number % _COLUMNS * _TILE[0], number // _COLUMNS * _TILE[1]))
        written.append(folder / f"{name}-{len(written) + 1}.jpeg")
        sheet.save(written[-1], quality=85)
    return written
