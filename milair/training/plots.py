"""Pictures of a report: the curves of a training, a search's progress, predicted boxes on frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from milair.boxes import Box, to_pixels
from milair.frames.drawing import TRAINING, VALIDATION, draw_box
from milair.frames.frame import Frame
from milair.frames.pictures import open_rgb

_CURVES = (("loss", "loss"), ("accuracy", "accuracy"), ("iou", "IoU"))
_TRUE, _PREDICTED = "#1f9d55", "#d63a2f"
_FRAME = 640, 360  # pixels
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # texts stay texts
    "svg.hashsalt": "milair",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def curves(trained: Mapping[str, Mapping[str, Sequence[float | None]]], best: int, path: Path) -> None:
    """Write the three curves of a training, epoch by epoch, as SVG; `best` is the epoch that its score is of."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 2.6), layout="constrained")
        for axes, (name, title) in zip(figure.subplots(1, 3), _CURVES, strict=True):
            for part, colour, label in (("train", TRAINING, "training"), ("val", VALIDATION, "validation")):
                values = [float("nan") if value is None else value for value in trained[part][name]]
                axes.plot(range(1, len(values) + 1), values, color=colour, label=label)
            axes.axvline(best, color="#888888", linestyle=":", linewidth=1)
            _name(axes, title, "epoch")
            if name != "loss":
                axes.set_ylim(0, 1.02)
        figure.axes[0].legend(frameon=False)
        _save(figure, path)


def progress(searches: Mapping[str, tuple[Sequence[float], Sequence[float]]], path: Path) -> None:
    """Write the best score so far over the passes over the data spent so far, a line a search, as SVG."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        axes = figure.subplots()
        for colour, (name, (passes, best)) in zip((TRAINING, VALIDATION), searches.items(), strict=False):
            axes.step(passes, best, where="post", color=colour, label=name)
        _name(axes, "best validation score so far", "passes over the training pictures, all trainings together")
        axes.legend(frameon=False, loc="lower right")
        _save(figure, path)


def prediction(frame: Frame, label: str, probability: float, box: Box, overlap: float, path: Path) -> None:
    """Write a frame with its true box in green and the predicted one in red, as JPEG."""
    picture = ImageOps.contain(open_rgb(frame.path, _FRAME), _FRAME)
    _draw(picture, frame.box, frame.label, _TRUE)
    _draw(picture, box, f"{label} {probability:.0%}, IoU {overlap:.2f}", _PREDICTED)
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=80)


def _draw(picture: Image.Image, box: Box, text: str, colour: str) -> None:
    draw_box(picture, to_pixels(box, *picture.size), text, colour)


def _name(axes: Axes, title: str, below: str) -> None:
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(below)
    axes.grid(color="#dddddd", linewidth=0.5)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata: dict[str, Any] = {"Date": None}
    figure.savefig(path, format="svg", metadata=metadata)
