"""Heads: what is trained. One names the object, one finds its box; both read the backbone's map."""

from __future__ import annotations

import math
from dataclasses import dataclass

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

    def __init__(self, recipe: Recipe, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.cls_head = build(recipe.cls_head, shape, classes)
        self.reg_head = build(recipe.reg_head, shape, 4)
        _start_boxes(self.reg_head)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        corners = self.reg_head(features).sigmoid()
        one, other = corners[:, :2], corners[:, 2:]
        # In order, or a box that is inside out would overlap nothing and never learn
        return self.cls_head(features), torch.cat([torch.minimum(one, other), torch.maximum(one, other)], dim=1)


def _start_boxes(head: nn.Sequential) -> None:
    """Let the first boxes lie about the centre, from 27% to 73%, where they overlap nearly every object.

    From a start at one point, half of the pictures learn to be answered with their corners swapped; between those and
    the others lie boxes of no size, and the boxes of linear heads lose 0.08 of IoU."""
    last = [layer for layer in head if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
    assert last.bias is not None
    with torch.no_grad():
        last.bias += torch.tensor([-1.0, -1.0, 1.0, 1.0])  # sigmoid(±1)


def build(head: Head, shape: tuple[int, int, int], outputs: int) -> nn.Sequential:
    """The document's layers, in its order."""
    if isinstance(head, ConvHead):
        return _conv(head, shape[0], outputs)
    layers: list[nn.Module] = [nn.Flatten(), nn.Dropout(0.5)]
    inputs = shape[0] * shape[1] * shape[2]
    for width in head.sizes:
        layers += [nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


def _conv(head: ConvHead, inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(head.blocks):
        layers += [nn.Conv2d(inputs, head.filters, 3, padding=1), nn.BatchNorm2d(head.filters), nn.ReLU()]
        inputs = head.filters
    return nn.Sequential(*layers, nn.Conv2d(inputs, outputs, 1), MaxOverMap())


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
    heads, _, frozen = _measured(recipe, classes)
    trainable = sum(parameter.numel() for parameter in heads.parameters())
    return Size(frozen + trainable, trainable)


def training_bytes(recipe: Recipe, classes: int) -> int:
    """Memory to train heads, about: weights and a batch's activations, both with gradients, and Adam's two moments."""
    heads, shape, _ = _measured(recipe, classes)
    numbers = 4 * sum(parameter.numel() for parameter in heads.parameters())
    outputs: list[int] = []
    for module in heads.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda _, __, output: outputs.append(output.numel()))
    heads(torch.empty(recipe.batch_size, *shape, device="meta"))
    return 4 * (numbers + recipe.batch_size * math.prod(shape) + 2 * sum(outputs))


def _measured(recipe: Recipe, classes: int) -> tuple[Heads, tuple[int, int, int], int]:
    """Heads on torch's meta device, the shape of their features, and the backbone's number of parameters."""
    shape, frozen = backbones.measure(recipe.backbone, recipe.pooling, recipe.size)
    with torch.device("meta"):
        return Heads(recipe, shape, classes), shape, frozen
