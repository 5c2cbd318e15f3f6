"""Picture files as tensors: decoding to a size, the views of a picture, normalising for a backbone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from milair.errors import OutsideError
from milair.features import views as augmentation
from milair.features.views import View
from milair.frames.pictures import Unreadable, open_rgb
from milair.model import backbones
from milair.recipe import Recipe

VIEW_SEED = 32
_LEAST_STD = 1 / 255  # of a channel that is the same everywhere, as in false-colour frames


@dataclass(frozen=True, slots=True)
class Picture:
    """A file and the hash of its content, which decides its views."""

    path: Path
    content: bytes

    def view(self, number: int) -> View:
        return augmentation.view(int.from_bytes(self.content[:8], "big"), number, VIEW_SEED)


def see(pixels: Tensor, picture: Picture, number: int) -> Tensor:
    """uint8 [3, height, width] to the picture's view of that number, in 0–1."""
    return augmentation.apply(picture.view(number), pixels.float() / 255)


def statistics(pictures: tuple[Path, ...], recipe: Recipe) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, of pictures in 0–1, that a recipe's normalisation means."""
    if recipe.normalisation == "imagenet":
        return backbones.IMAGENET_MEAN, backbones.IMAGENET_STD
    return _own_statistics(pictures, recipe.size)


def decode(path: Path, size: tuple[int, int]) -> Tensor:
    """A picture as uint8 [3, height, width], resized to `size` (width, height) without keeping its aspect."""
    try:
        resized = open_rgb(path).resize(size, Image.Resampling.BILINEAR)
    except Unreadable as error:
        raise OutsideError(f"{path} {error}") from None
    return torch.from_numpy(np.array(resized)).permute(2, 0, 1)


def normalise(pictures: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pictures [n, 3, height, width] in 0–1, scaled per channel."""
    return (pictures - pictures.new_tensor(mean)[:, None, None]) / pictures.new_tensor(std)[:, None, None]


@lru_cache(maxsize=8)
def _own_statistics(pictures: tuple[Path, ...], size: tuple[int, int]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    sums, squares = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for path in pictures:
        values = decode(path, size).double() / 255
        sums += values.mean((1, 2))
        squares += values.square().mean((1, 2))
    mean = sums / len(pictures)
    variance = squares / len(pictures) - mean.square()
    std = variance.clamp(min=_LEAST_STD**2).sqrt()
    return tuple(mean.tolist()), tuple(std.tolist())
