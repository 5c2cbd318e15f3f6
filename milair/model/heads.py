"""Heads: what is trained. One names the object, one finds its box; both read the backbone's map."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from milair.model import backbones
from milair.recipe import ConvHead, DenseHead, Head, LinearHead, Recipe


class Heads(nn.Module):
    """Features [n, channels, rows, columns] to class logits [n, classes] and boxes [n, 4] in shares (0 to 1)."""

    def __init__(self, recipe: Recipe, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        self.cls_head = class_head(recipe.cls_head, shape, classes)
        self.reg_head, self.dense = box_head(recipe.reg_head, shape), isinstance(recipe.reg_head, DenseHead)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        boxes = self.reg_head(features)  # first, as ever: both may draw dropout
        return self.cls_head(features), boxes if self.dense else corners(boxes)


def class_head(head: Head, shape: Sequence[int], classes: int) -> nn.Sequential:
    """Features of `shape` (channels, rows, columns) to class logits."""
    return dense(head, shape, classes, Attention()) if isinstance(head, DenseHead) else document(head, shape, classes)


def box_head(head: Head, shape: Sequence[int]) -> nn.Sequential:
    """Features of `shape` (channels, rows, columns) to boxes, or to what `corners` makes boxes of."""
    if isinstance(head, DenseHead):
        layers, first = dense(head, shape, 4, BoxesOfCells()), [-1.0] * 4 + [0.0]  # every side 0.27 from each centre
    else:
        # The first boxes lie about the centre, from 27% to 73% (sigmoid(±1)), where they overlap nearly every object.
        # From a start at one point, half of the pictures learn their corners swapped; between those and the others lie
        # boxes of no size, and the boxes of linear heads lose 0.08 of IoU.
        layers, first = document(head, shape, 4), [-1.0, -1.0, 1.0, 1.0]
    *_, bias = layers.parameters()
    with torch.no_grad():
        bias.add_(torch.tensor(first))
    return layers


def document(head: LinearHead | ConvHead, shape: Sequence[int], outputs: int) -> nn.Sequential:
    """The document's layers, in its order."""
    if isinstance(head, ConvHead):
        widths = [shape[0], *[head.filters] * head.blocks]
        blocks = [layer for inputs, filters in pairwise(widths) for layer in _block(inputs, filters, 3)]
        return nn.Sequential(*blocks, nn.Conv2d(widths[-1], outputs, 1), MaxOverMap())
    widths = [math.prod(shape), *head.sizes]
    layers = [
        layer
        for inputs, width in pairwise(widths)
        for layer in (nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU())
    ]
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), *layers, nn.Linear(widths[-1], outputs))


def dense(head: DenseHead, shape: Sequence[int], outputs: int, mean: nn.Module) -> nn.Sequential:
    """Every cell's outputs and weight, of which `mean` makes the picture's."""
    pool = [nn.AdaptiveAvgPool2d(head.cells)] if head.cells else []
    blocks = [layer for _ in range(head.blocks) for layer in _block(head.channels, head.channels, 3)]
    answers = nn.Conv2d(head.channels, outputs + 1, 1)
    return nn.Sequential(*pool, *_block(shape[0], head.channels, 1), *blocks, nn.Dropout2d(head.dropout), answers, mean)


def _block(inputs: int, filters: int, side: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, filters, side, padding=side // 2), nn.BatchNorm2d(filters), nn.ReLU()


class MaxOverMap(nn.Module):
    """AdaptiveMaxPool2d(1), flattened; unlike that one, its backward pass is deterministic on CUDA."""

    def forward(self, features: Tensor) -> Tensor:
        return features.flatten(2).amax(2)


def corners(outputs: Tensor) -> Tensor:
    """Outputs [n, 4] to boxes in shares: two corners, put in order, or a box that is inside out would overlap nothing
    and never learn."""
    one, other = outputs.sigmoid().chunk(2, dim=1)
    return torch.cat([torch.minimum(one, other), torch.maximum(one, other)], dim=1)


class Attention(nn.Module):
    """Outputs and a weight of every cell [n, outputs + 1, rows, columns] to their mean [n, outputs], by the softmax of
    the weights over the map."""

    def forward(self, cells: Tensor) -> Tensor:
        outputs, weights = cells[:, :-1].flatten(2), cells[:, -1:].flatten(2)
        return (outputs * weights.softmax(2)).sum(2)


class BoxesOfCells(Attention):
    """Of every cell the distances from its centre to the four sides of the box, in shares, and a weight, to the mean
    box [n, 4] (xmin, ymin, xmax, ymax)."""

    def forward(self, cells: Tensor) -> Tensor:
        rows, columns = cells.shape[2:]
        y, x = torch.meshgrid(_centres(rows, cells), _centres(columns, cells), indexing="ij")
        left, top, right, bottom = cells[:, :4].sigmoid().unbind(1)
        return super().forward(torch.stack([x - left, y - top, x + right, y + bottom, cells[:, 4]], dim=1))


def _centres(cells: int, like: Tensor) -> Tensor:
    return (torch.arange(cells, device=like.device, dtype=like.dtype) + 0.5) / cells


@dataclass(frozen=True, slots=True)
class Size:
    """Parameters of the whole model; the backbone's are frozen. 4 bytes each, as MB of 1024 x 1024."""

    total: int
    trainable: int

    @property
    def megabytes(self) -> float:
        return self.total * 4 / 1024**2

    def to_json(self) -> dict[str, float]:
        return {"total": self.total, "trainable": self.trainable, "MB": round(self.megabytes, 2)}


def size(recipe: Recipe, classes: int) -> Size:
    """Parameters of a recipe's model, counted without computing or loading anything."""
    _, frozen = backbones.measure(recipe.feature_map, recipe.size)
    trainable = sum(parameter.numel() for heads in on_meta(recipe, classes) for parameter in heads.parameters())
    return Size(frozen + trainable, trainable)


def training_bytes(recipe: Recipe, classes: int) -> int:
    """Memory to train heads, about: weights and a batch's activations, both with gradients; moments and an average."""
    numbers = 0
    for heads, shape in zip(on_meta(recipe, classes), shapes(recipe), strict=True):
        outputs = list[int]()
        for module in heads.modules():
            if not list(module.children()):
                module.register_forward_hook(lambda _, __, output, seen=outputs: seen.append(output.numel()))
        heads(torch.empty(recipe.batch_size, *shape, device="meta"))
        weights = sum(parameter.numel() for parameter in heads.parameters())
        numbers += (4 + bool(recipe.ema)) * weights + recipe.batch_size * math.prod(shape) + 2 * sum(outputs)
    return 4 * numbers


def shapes(recipe: Recipe) -> list[tuple[int, ...]]:
    """Of the features that each look of a recipe reads: channels, rows, columns."""
    sizes = [recipe.size, (recipe.crop_size, recipe.crop_size)][: recipe.looks]
    return [backbones.measure(recipe.feature_map, size)[0] for size in sizes]


def on_meta(recipe: Recipe, classes: int) -> list[Heads]:
    """The heads of each look on torch's meta device: nothing is drawn."""
    measured = shapes(recipe)
    with torch.device("meta"):
        return [Heads(recipe, shape, classes) for shape in measured]
