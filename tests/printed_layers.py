"""The table of a model's layers as the document printed it: in the layout of torchsummary."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import nn

from milair.model import backbones, heads
from milair.recipe import LinearHead, Recipe

_MB = 1024**2


class Layer(NamedTuple):
    name: str  # "Conv2d-1"
    shape: tuple[int, ...]  # of its output, without the batch
    parameters: int


def layers(recipe: Recipe, classes: int) -> tuple[list[Layer], dict[str, float]]:
    """The layers in the order in which they compute, and the sums below them; MB are of 1024 x 1024 bytes.

    Nothing is computed or loaded: a picture passes on torch's meta device."""
    table: list[Layer] = []

    def add(name: str, shape: Iterable[int], parameters: int = 0) -> None:
        table.append(Layer(f"{name}-{len(table) + 1}", tuple(shape), parameters))

    def note(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        name, ones = type(module).__name__, []
        if isinstance(module, heads.MaxOverMap):  # the document's layer for the same
            name, ones = "AdaptiveMaxPool2d", [1, 1]
        add(name, [*output.shape[1:], *ones], sum(values.numel() for values in module.parameters(recurse=False)))

    backbone = backbones.on_meta(recipe.feature_map)
    trained = heads.on_meta(recipe, classes)[0].eval()
    for module in (*backbone.modules(), *trained.modules()):
        if not isinstance(
            module, nn.Sequential | nn.ModuleList | nn.Flatten | nn.Dropout | backbones.Backbone | heads.Heads
        ):
            module.register_forward_hook(note)
    picture = torch.empty(1, 3, *reversed(recipe.size), device="meta")
    features = backbone(picture)
    if isinstance(recipe.cls_head, LinearHead) or isinstance(recipe.reg_head, LinearHead):
        add("Flatten", [math.prod(features.shape)])  # printed once: the document's heads share these two
        add("Dropout", [math.prod(features.shape)])
    add("FeatureExtractor", table[-1].shape)
    trained.cls_head(features)  # printed first
    trained.reg_head(features)

    size, inputs = heads.size(recipe, classes), 4 * picture.numel() / _MB
    passes = 2 * 4 * sum(math.prod(layer.shape) for layer in table) / _MB  # each output and its gradient
    return table, {
        "Total params": size.total,
        "Trainable params": size.trainable,
        "Non-trainable params": size.total - size.trainable,
        "Input size (MB)": inputs,
        "Forward/backward pass size (MB)": passes,
        "Params size (MB)": size.megabytes,
        "Estimated Total Size (MB)": inputs + passes + size.megabytes,
    }
