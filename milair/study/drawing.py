"""Small pictures of a trial, for dashboards and reports: by Pillow or as text, as a search has neither matplotlib nor
torch in its process."""

import io
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from milair.boxes import Box, to_pixels
from milair.frames.drawing import PREDICTED, TRAINING, TRUE, VALIDATION
from milair.frames.frame import Frame
from milair.frames.pictures import open_rgb
from milair.study.kept import Curves

SHEET = 60_000  # bytes that a sheet takes at most
POINTS = 200  # of a curve that are drawn, at most
_TILE, _TEXT = (256, 160), 16  # pixels
_CELL, _NAME, _CLASSES = 40, 120, 30  # of a confusion matrix: pixels of a cell and of a name, classes at most
_PANEL, _HEIGHT, _LEFT, _TOP = 230, 170, 40, 30  # of curves, in pixels


def sheet(frames: Sequence[tuple[Frame, Box, str]], columns: int = 3, limit: int = SHEET) -> bytes:
    """Frames with their true box in green, a predicted one, in shares, in red, and a text below: JPEG of at most
    `limit` bytes, so many in a row."""
    rows, height = -(-len(frames) // columns), _TILE[1] + _TEXT
    page = Image.new("RGB", (min(len(frames), columns) * _TILE[0], rows * height), "white")
    font = ImageFont.load_default(11)
    for number, (frame, box, text) in enumerate(frames):
        picture = _small(frame.path).copy()
        pen = ImageDraw.Draw(picture)
        for corners, colour in ((frame.box, TRUE), (box, PREDICTED)):
            left, top, right, bottom = to_pixels(corners, *picture.size)
            pen.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=2)
        left, top = number % columns * _TILE[0], number // columns * height
        page.paste(picture, (left + (_TILE[0] - picture.width) // 2, top + (_TILE[1] - picture.height) // 2))
        ImageDraw.Draw(page).text((left + 4, top + _TILE[1] + 1), _fitting(text, font), fill="black", font=font)
    for quality in (75, 60, 45, 30, 15, 5):
        stream = io.BytesIO()
        page.save(stream, "JPEG", quality=quality, optimize=True)
        if stream.tell() <= limit:
            break
    return stream.getvalue()


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """As much of a text as stands below a picture."""
    if font.getlength(text) <= _TILE[0] - 8:
        return text
    while text and font.getlength(f"{text}…") > _TILE[0] - 8:
        text = text[:-1]
    return f"{text}…"


@lru_cache(256)  # some 30 MB: trials show the same frames again and again
def _small(path: Path) -> Image.Image:
    return ImageOps.contain(open_rgb(path, _TILE), _TILE)


def curves(trained: Curves, best: int) -> bytes:
    """Loss, accuracy and IoU, epoch by epoch, as SVG; `best` is the epoch that the score is of."""
    epochs = len(trained["val"]["loss"])
    width, height = 3 * (_PANEL + _LEFT) + 20, _HEIGHT + _TOP + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
    ]
    for number, name in enumerate(("loss", "accuracy", "iou")):
        lines = {part: trained[part][name] for part in ("train", "val")}
        seen = [value for values in lines.values() for value in values if value is not None]
        low, high = (0.0, 1.0) if name != "loss" else (min(seen, default=0.0), max(seen, default=1.0))
        parts.append(_panel(name.replace("iou", "IoU"), number * (_PANEL + _LEFT), low, high, epochs, best, lines))
    return "".join([*parts, "</svg>"]).encode()


def _panel(
    title: str,
    left: int,
    low: float,
    high: float,
    epochs: int,
    best: int,
    lines: dict[str, Sequence[float | None]],
) -> str:
    """One of the three pictures, its upper left corner so many pixels from the left."""

    def x(epoch: int) -> float:
        return left + _LEFT + (_PANEL - 20) * (epoch - 1) / max(epochs - 1, 1)

    def y(value: float) -> float:
        return _TOP + _HEIGHT * (1 - (value - low) / ((high - low) or 1))

    parts = [f'<text x="{left + _LEFT}" y="18" font-size="13">{escape(title)}</text>']
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        value = low + share * (high - low)
        parts.append(
            f'<path d="M{x(1):.1f} {y(value):.1f}H{left + _LEFT + _PANEL - 20}" stroke="#dddddd"/>'
            f'<text x="{left + _LEFT - 4}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.2f}</text>'
        )
    base = _TOP + _HEIGHT
    parts.append(f'<path d="M{x(best):.1f} {_TOP}V{base}" stroke="#888888" stroke-dasharray="2 3"/>')
    for part, colour in (("train", TRAINING), ("val", VALIDATION)):
        points = [(x(n), y(value)) for n, value in enumerate(lines[part], 1) if value is not None]
        points = points[:: -(-len(points) // POINTS) or 1]
        where = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
        parts.append(f'<polyline points="{where}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    parts.append(f'<text x="{x(1):.1f}" y="{base + 16}">1</text>')
    parts.append(f'<text x="{left + _LEFT + _PANEL - 20}" y="{base + 16}" text-anchor="end">epoch {epochs}</text>')
    if title == "loss":
        for number, (text, colour) in enumerate((("training", TRAINING), ("validation", VALIDATION))):
            parts.append(f'<text x="{left + _LEFT + 60 * number}" y="{base + 32}" fill="{colour}">{text}</text>')
    return "".join(parts)


def confusion(title: str, classes: Sequence[str], counts: Sequence[Sequence[int]]) -> bytes:
    """How often each true class, a row, is predicted as which, as SVG. Of many classes those most often mistaken."""
    wrong = [sum(counts[n]) + sum(row[n] for row in counts) - 2 * counts[n][n] for n in range(len(classes))]
    shown = sorted(sorted(range(len(classes)), key=lambda n: -wrong[n])[:_CLASSES])
    size, top = len(shown) * _CELL, _NAME + 40
    width, height = _NAME + size + 20, top + size + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="8" y="18" font-size="13">{escape(title)}: true class (rows), predicted class (columns)</text>'
    ]
    for row, true in enumerate(shown):
        name, middle = escape(classes[true][:18]), (row + 0.5) * _CELL
        x, y = _NAME + middle + 4, top + middle + 4
        parts.append(f'<text x="{_NAME - 6}" y="{y}" text-anchor="end">{name}</text>')
        parts.append(f'<text transform="translate({x} {top - 6}) rotate(-90)">{name}</text>')
        for column, predicted in enumerate(shown):
            count = counts[true][predicted]
            share, colour = count / max(sum(counts[true]), 1), TRUE if true == predicted else PREDICTED
            parts.append(
                f'<rect x="{_NAME + column * _CELL}" y="{top + row * _CELL}" width="{_CELL}" height="{_CELL}" '
                f'fill="{colour}" fill-opacity="{share:.2f}" stroke="#dddddd"/>'
            )
            if count:
                middle = _NAME + (column + 0.5) * _CELL
                parts.append(f'<text x="{middle}" y="{y}" text-anchor="middle">{count}</text>')
    return "".join([*parts, "</svg>"]).encode()
