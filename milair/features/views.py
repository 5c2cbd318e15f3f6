"""Views: the document's augmentation, as values that are drawn, applied to a picture and to its box.

A view is a pure function of (picture, number, seed); its shifts are shares of the picture, so that it is the
same view at every size. Number 0 is the picture as it is. Each change comes with probability 0.5: horizontal
flip, brightness and contrast (±0.2), shift (≤ 0.0625) with scale (±0.1), blur 3x3.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from milair.boxes import Box
from milair.frames.frame import Frame
from milair.frames.pictures import Picture
from milair.model.preprocessing import Preprocessing

SEED = 32  # of a bank's views
VERSION = 1  # goes into every bank's key: raise it when a view changes


@dataclass(frozen=True, slots=True)
class View:
    flip: bool = False
    brightness: float = 0.0  # added, as a share of white
    contrast: float = 1.0  # factor
    shift_x: float = 0.0  # to the right, as a share of the width
    shift_y: float = 0.0  # downwards, as a share of the height
    scale: float = 1.0  # about the centre
    blur: bool = False


def view(content: bytes, number: int, seed: int = SEED) -> View:
    """The view of that number (0 is the plain picture) of the picture whose file has this hash."""
    if number == 0:
        return View()
    rng = np.random.default_rng([seed, int.from_bytes(content[:8], "big"), number])
    flip, light, move, blur = (bool(draw < 0.5) for draw in rng.random(4))
    brightness, contrast = rng.uniform(-0.2, 0.2, 2) if light else (0.0, 0.0)
    shift_x, shift_y = rng.uniform(-0.0625, 0.0625, 2) if move else (0.0, 0.0)
    scale = rng.uniform(0.9, 1.1) if move else 1.0
    return View(flip, float(brightness), 1.0 + float(contrast), float(shift_x), float(shift_y), float(scale), blur)


def apply(view: View, picture: torch.Tensor) -> torch.Tensor:
    """`picture` [3, height, width] in 0–1 as the view shows it; beyond its edge a picture goes on as at its edge."""
    image = picture[None]
    if view.flip or view.scale != 1 or view.shift_x or view.shift_y:
        # affine_grid maps from the output back to the input, in coordinates from -1 to 1: hence the inverse.
        turn = -1.0 if view.flip else 1.0
        theta = torch.tensor(
            [
                [turn / view.scale, 0.0, -turn * 2 * view.shift_x / view.scale],
                [0.0, 1 / view.scale, -2 * view.shift_y / view.scale],
            ],
            device=picture.device,
        )
        grid = torch.nn.functional.affine_grid(theta[None], list(image.shape), align_corners=False)
        image = torch.nn.functional.grid_sample(image, grid, "bilinear", "border", align_corners=False)
    if view.brightness or view.contrast != 1:
        image = (image * view.contrast + view.brightness).clamp(0, 1)
    if view.blur:
        image = torch.nn.functional.avg_pool2d(image, 3, stride=1, padding=1, count_include_pad=False)
    return image[0]


def move(view: View, box: Box) -> tuple[Box, float]:
    """Where the view shows `box` (in shares, clipped to the picture), and the share of its area still to be seen."""
    xmin, ymin, xmax, ymax = box
    if view.flip:
        xmin, xmax = 1 - xmax, 1 - xmin
    xs = [(x - 0.5) * view.scale + 0.5 + view.shift_x for x in (xmin, xmax)]
    ys = [(y - 0.5) * view.scale + 0.5 + view.shift_y for y in (ymin, ymax)]
    left, right = (min(max(x, 0.0), 1.0) for x in xs)
    top, bottom = (min(max(y, 0.0), 1.0) for y in ys)
    area = (xs[1] - xs[0]) * (ys[1] - ys[0])
    return (left, top, right, bottom), (right - left) * (bottom - top) / area if area > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Views:
    """Whole pictures, seen in so many views; number 0 is the plain one."""

    preprocessing: Preprocessing

    @property
    def size(self) -> tuple[int, int]:
        return self.preprocessing.size

    @property
    def version(self) -> list[Any]:
        return [SEED, VERSION]

    def content(self, frame: Frame) -> bytes:
        """A hash of all that a frame's views depend on."""
        return frame.picture.content

    def show(self, frame: Frame, number: int) -> torch.Tensor:
        """float [3, height, width] in 0–1."""
        return apply(view(frame.picture.content, number), _decoded(self.preprocessing, frame.picture))

    def target(self, frame: Frame, number: int) -> tuple[Box, float]:
        """The box in shares of the view, and the share of the object that is still to be seen."""
        return move(view(frame.picture.content, number), frame.box)


@lru_cache(maxsize=1)  # a picture's views come one after the other
def _decoded(preprocessing: Preprocessing, picture: Picture) -> torch.Tensor:
    return preprocessing.decode(picture).float() / 255
