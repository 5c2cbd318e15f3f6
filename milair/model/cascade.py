"""The second look: square crops about the object that the first look found.

A crop is a square of the picture's pixels, given by its sides in shares of the picture: a box that may reach beyond
the picture, which goes on there as at its edge.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from milair.model.heads import Heads
from milair.recipe import Recipe

Outputs = tuple[Tensor, Tensor]  # class probabilities [n, classes], boxes [n, 4] in shares

_SMALLEST = 16.0  # pixels of a crop's side


def square(boxes: Tensor, sizes: Tensor, margin: float) -> Tensor:
    """Crops [n, 4] about boxes [n, 4] in shares of pictures of `sizes` [n, 2] (width, height) in pixels.

    A crop's side is `margin` times the longer side of the box."""
    boxes = boxes.clamp(0, 1)
    centres, longer = (boxes[:, :2] + boxes[:, 2:]) / 2, ((boxes[:, 2:] - boxes[:, :2]) * sizes).amax(1, keepdim=True)
    half = (longer * margin).clamp(min=_SMALLEST) / sizes / 2
    return torch.cat([centres - half, centres + half], dim=1)


def cut(picture: Image.Image, crop: Sequence[float], side: int) -> Tensor:
    """uint8 [3, side, side] of what a crop shows of a picture that is upright and RGB."""
    width, height = picture.size
    left, top, right, bottom = crop[0] * width, crop[1] * height, crop[2] * width, crop[3] * height
    x, y, x_end, y_end = math.floor(left), math.floor(top), math.ceil(right), math.ceil(bottom)
    inside = max(x, 0), max(y, 0), min(x_end, width), min(y_end, height)
    around = ((inside[1] - y, y_end - inside[3]), (inside[0] - x, x_end - inside[2]), (0, 0))
    pixels = Image.fromarray(np.pad(np.asarray(picture.crop(inside)), around, mode="edge"))
    shown = pixels.resize((side, side), Image.Resampling.BILINEAR, box=(left - x, top - y, right - x, bottom - y))
    return torch.from_numpy(np.array(shown)).permute(2, 0, 1)


def to_crop(boxes: Tensor, crops: Tensor) -> Tensor:
    """Boxes [n, 4] in shares of the picture, as shares of crops [n, 4]."""
    corner = crops[:, :2].repeat(1, 2)
    return (boxes - corner) / (crops[:, 2:] - crops[:, :2]).repeat(1, 2)


def from_crop(boxes: Tensor, crops: Tensor) -> Tensor:
    """Boxes [n, 4] in shares of crops [n, 4], as shares of the picture."""
    corner = crops[:, :2].repeat(1, 2)
    return boxes * (crops[:, 2:] - crops[:, :2]).repeat(1, 2) + corner


def mirrored(boxes: Tensor) -> Tensor:
    """Boxes [n, 4] in shares, where the mirrored picture shows them."""
    return boxes[:, [2, 1, 0, 3]] * boxes.new_tensor([-1, 1, -1, 1]) + boxes.new_tensor([1, 0, 1, 0])


def both(pictures: Tensor) -> Tensor:
    """Pictures [n, 3, height, width], then their mirror images: [2n, 3, height, width]."""
    return torch.cat([pictures, pictures.flip(3)])


def read(heads: Heads, features: Tensor, crops: Tensor | None = None, flip: bool = False) -> Outputs:
    """What heads make of features [n, ...]; with `flip` [2n, ...], those of `both`, of which it takes the mean.

    Boxes are in shares of the picture, whose crops [n, 4] the features are of."""
    logits, boxes = heads(features)
    probabilities = logits.softmax(1)
    if flip:
        plain, other = boxes.unflatten(0, (2, -1))
        probabilities, boxes = probabilities.unflatten(0, (2, -1)).mean(0), (plain + mirrored(other)) / 2
    return probabilities, boxes if crops is None else from_crop(boxes, crops.to(boxes))


def mean(outputs: Sequence[Outputs]) -> Outputs:
    """Of several heads on the same pictures: the mean probabilities and the mean boxes."""
    probabilities, boxes = zip(*outputs, strict=True)
    return torch.stack(probabilities).mean(0), torch.stack(boxes).mean(0)


def cut_about(pictures: Sequence[Image.Image], boxes: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """What the second look of a recipe sees about boxes [n, 4]: float [n, 3, side, side] in 0–1, and crops [n, 4]."""
    crops = square(boxes, boxes.new_tensor([picture.size for picture in pictures]), recipe.crop_margin)
    shown = [cut(picture, crop, recipe.crop_size) for picture, crop in zip(pictures, crops.tolist(), strict=True)]
    return torch.stack(shown).float() / 255, crops


def decide(first: Tensor, second: Tensor, recipe: Recipe) -> Tensor:
    """The class probabilities [n, classes] that count, of those of both looks."""
    return {"first": first, "second": second, "mean": (first + second) / 2}[recipe.decides]
