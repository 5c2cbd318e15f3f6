"""Boxes on pictures, and sheets of many small pictures."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from milair.boxes import Box, to_pixels
from milair.frames import duplicates, pictures
from milair.frames.frame import Frame, Split

LINE = "#ff3b30"
TRAINING, VALIDATION = "#0a84ff", "#ff9f0a"
TRUE, PREDICTED = "#1f9d55", "#d63a2f"  # boxes
_TILE = 320, 180  # pixels of a picture on a sheet
_COLUMNS, _ROWS = 6, 8
Tile = tuple[Frame, Box, str, str]  # a frame, a box on it in shares, a text at its corner, a colour


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
    return _sheets([(frame, frame.box, frame.label, LINE) for frame in frames], folder, "labels")


def duplicate_sheets(split: Split, folder: Path) -> list[Path]:
    """Write near-duplicates-1.jpeg …: group by group, training frames in blue, validation frames in orange."""
    coloured = [(frame, TRAINING) for frame in split.train] + [(frame, VALIDATION) for frame in split.val]
    groups = duplicates.groups([frame for frame, _ in coloured])
    sizes = Counter(groups)
    members = [(group, *frame) for group, frame in zip(groups, coloured, strict=True) if sizes[group] > 1]
    members.sort(key=lambda member: member[0])
    numbers = {group: number for number, group in enumerate(dict.fromkeys(group for group, *_ in members), 1)}
    return _sheets(
        [
            (frame, (0, 0, 1, 1), f"{numbers[group]}  {frame.label}  {frame.path.name}", colour)
            for group, frame, colour in members
        ],
        folder,
        "near-duplicates",
    )


def _sheets(tiles: Sequence[Tile], folder: Path, name: str) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    sheets: list[Path] = []
    for first in range(0, len(tiles), _COLUMNS * _ROWS):
        page = tiles[first : first + _COLUMNS * _ROWS]
        sheet = Image.new("RGB", (_COLUMNS * _TILE[0], -(-len(page) // _COLUMNS) * _TILE[1]), "white")
        for number, (frame, box, text, colour) in enumerate(page):
            picture = ImageOps.contain(pictures.open_rgb(frame.path, _TILE), _TILE)
            draw_box(picture, to_pixels(box, *picture.size), text, colour)
            sheet.paste(picture, (number % _COLUMNS * _TILE[0], number // _COLUMNS * _TILE[1]))
        sheets.append(folder / f"{name}-{len(sheets) + 1}.jpeg")
        sheet.save(sheets[-1], quality=85)
    return sheets
