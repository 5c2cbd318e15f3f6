"""Heads: what is trained. One names the object, one finds its box; both read the backbone's map."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from milair.model import backbones
from milair.recipe import ConvHead, Head, Recipe


class MaxOverMap(nn.Module):
    """AdaptiveMaxPool2d(1), flattened; unlike that one, its backward pass is deterministic on CUDA."""

    def forward(self, features: Tensor) -> Tensor:
        return features.flatten(2).amax(2)


class Heads(nn.Module):
    """Features [n, channels, rows, columns] to class logits [n, classes] and boxes [n, 4] in shares (0 to 1)."""

    def __init__(self, recipe: Recipe, shape: Sequence[int], classes: int) -> None:
        super().__init__()
        self.cls_head = build(recipe.cls_head, shape, classes)
        self.reg_head = build(recipe.reg_head, shape, 4)
        # The first boxes lie about the centre, from 27% to 73% (sigmoid(±1)), where they overlap nearly every object.
        # From a start at one point, half of the pictures learn their corners swapped; between those and the others lie
        # boxes of no size, and the boxes of linear heads lose 0.08 of IoU.
        *_, bias = self.reg_head.parameters()
        with torch.no_grad():
            bias.add_(torch.tensor([-1.0, -1.0, 1.0, 1.0]))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        corners = self.reg_head(features).sigmoid()
        one, other = corners[:, :2], corners[:, 2:]
        # In order, or a box that is inside out would overlap nothing and never learn
        return self.cls_head(features), torch.cat([torch.minimum(one, other), torch.maximum(one, other)], dim=1)


def build(head: Head, shape: Sequence[int], outputs: int) -> nn.Sequential:
    """The document's layers, in its order, on features of `shape` (channels, rows, columns)."""
    if isinstance(head, ConvHead):
        widths = [shape[0], *[head.filters] * head.blocks]
        blocks = [
            layer
            for inputs, filters in pairwise(widths)
            for layer in (nn.Conv2d(inputs, filters, 3, padding=1), nn.BatchNorm2d(filters), nn.ReLU())
        ]
        return nn.Sequential(*blocks, nn.Conv2d(widths[-1], outputs, 1), MaxOverMap())
    widths = [math.prod(shape), *head.sizes]
    layers = [
        layer
        for inputs, width in pairwise(widths)
        for layer in (nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU())
    ]
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), *layers, nn.Linear(widths[-1], outputs))


@dataclass(frozen=True, slots=True)
class Size:
    """Parameters of the whole model; the backbone's are frozen. 4 bytes each, as MB of 1024 x 1024."""

    total: int
    trainable: int

    @property
    def megabytes(self) -> float:
        return self.total * 4 / 1024**2


def size(recipe: Recipe, classes: int) -> Size:
    """Parameters of a recipe's model, counted without computing or loading anything."""
    _, frozen = backbones.measure(recipe.backbone, recipe.pooling, recipe.size)
    trainable = sum(parameter.numel() for parameter in on_meta(recipe, classes).parameters())
    return Size(frozen + trainable, trainable)


def training_bytes(recipe: Recipe, classes: int) -> int:
    """Memory to train heads, about: weights and a batch's activations, both with gradients, and Adam's two moments."""
    shape, _ = backbones.measure(recipe.backbone, recipe.pooling, recipe.size)
    heads, outputs = on_meta(recipe, classes), list[int]()
    for module in heads.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda _, __, output: outputs.append(output.numel()))
    heads(torch.empty(recipe.batch_size, *shape, device="meta"))
    weights = sum(parameter.numel() for parameter in heads.parameters())
    return 4 * (4 * weights + recipe.batch_size * math.prod(shape) + 2 * sum(outputs))


def on_meta(recipe: Recipe, classes: int) -> Heads:
    """Heads on torch's meta device: nothing is drawn."""
    shape, _ = backbones.measure(recipe.backbone, recipe.pooling, recipe.size)
    with torch.device("meta"):
        return Heads(recipe, shape, classes)
