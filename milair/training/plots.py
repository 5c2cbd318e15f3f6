"""Pictures of a report: a search's progress, predicted boxes on frames."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import ImageDraw, ImageOps

from milair.boxes import Box, to_pixels
from milair.frames.drawing import PREDICTED, TRAINING, TRUE, VALIDATION
from milair.frames.frame import Frame
from milair.frames.pictures import open_rgb

_FRAME = 640, 360  # pixels
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # texts stay texts
    "svg.hashsalt": "milair",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def progress(searches: Mapping[str, tuple[Sequence[float], Sequence[float]]], path: Path) -> None:
    """Write the best score so far over the passes over the data spent so far, a line for each search, as SVG."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        axes = figure.subplots()
        for colour, (name, (passes, best)) in zip((TRAINING, VALIDATION), searches.items(), strict=False):
            axes.step(passes, best, where="post", color=colour, label=name)
        _label(axes, "best validation score so far", "passes over the training frames, all trainings together")
        axes.legend(frameon=False, loc="lower right")
        _save(figure, path)


def _label(axes: Axes, title: str, below: str) -> None:
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(below)
    axes.grid(color="#dddddd", linewidth=0.5)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None})  # the same study, the same file


def prediction(frame: Frame, box: Box, path: Path) -> None:
    """Write a frame with its true box in green and the predicted one, in shares, in red, as JPEG."""
    picture = ImageOps.contain(open_rgb(frame.path, _FRAME), _FRAME)
    pen = ImageDraw.Draw(picture)
    for corners, colour in ((frame.box, TRUE), (box, PREDICTED)):
        pen.rectangle(to_pixels(corners, *picture.size), outline=colour, width=3)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=80)
