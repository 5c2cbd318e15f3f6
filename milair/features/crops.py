"""Training crops of the second look: squares about the object, each a pure function of (frame, number, seed).

A crop's side is 1.25 to 2.1 times the longer side of the box, and it is shifted by up to a tenth of its side. With
probability 0.5 each it is mirrored, and changed in brightness and contrast (±0.2).
"""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from PIL import Image

from milair.boxes import Box
from milair.features.views import SEED, View, apply
from milair.frames.frame import Frame
from milair.frames.pictures import Picture
from milair.model.cascade import cut, mirrored, square, to_crop
from milair.model.preprocessing import opened

VERSION = 1  # goes into every table's key: raise it when a crop changes
_SIDES = 1.25, 2.1
_SHIFT = 0.1


def content(picture: bytes, box: Box) -> bytes:
    """A hash of all that crops of a box depend on, from that of the picture's file."""
    return sha256(picture + repr(box).encode()).digest()


@dataclass(frozen=True, slots=True)
class Crops:
    """Crops of so many pixels a side, numbered from 1."""

    side: int

    @property
    def size(self) -> tuple[int, int]:
        return self.side, self.side

    @property
    def version(self) -> list[Any]:
        return ["crops", SEED, VERSION]

    def content(self, frame: Frame) -> bytes:
        """A hash of all that a frame's crops depend on."""
        return content(frame.picture.content, frame.box)

    def show(self, frame: Frame, number: int) -> torch.Tensor:
        """float [3, side, side] in 0–1."""
        crop, view = self.draw(frame, number)
        return apply(view, cut(_opened(frame.picture), crop[0].tolist(), self.side).float() / 255)

    def target(self, frame: Frame, number: int) -> tuple[Box, float]:
        """The box in shares of the crop, which shows all of it."""
        crop, view = self.draw(frame, number)
        box = to_crop(torch.tensor([frame.box]), crop)
        xmin, ymin, xmax, ymax = (mirrored(box) if view.flip else box)[0].tolist()
        return (xmin, ymin, xmax, ymax), 1.0

    def draw(self, frame: Frame, number: int) -> tuple[torch.Tensor, View]:
        """The sides of a crop in shares of the picture [1, 4], and how it is changed."""
        rng = np.random.default_rng([SEED, int.from_bytes(self.content(frame)[:8], "big"), number])
        flip, light = (bool(draw < 0.5) for draw in rng.random(2))
        brightness, contrast = rng.uniform(-0.2, 0.2, 2) if light else (0.0, 0.0)
        crop = square(torch.tensor([frame.box]), torch.tensor([[frame.width, frame.height]]), rng.uniform(*_SIDES))
        shift = torch.from_numpy(rng.uniform(-_SHIFT, _SHIFT, 2)).float() * (crop[:, 2:] - crop[:, :2])
        return crop + shift.repeat(1, 2), View(flip=flip, brightness=float(brightness), contrast=1 + float(contrast))


@lru_cache(maxsize=1)  # a picture's crops come one after the other
def _opened(picture: Picture) -> Image.Image:
    return opened(picture)
