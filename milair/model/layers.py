"""The table of a model's layers, with output shapes and parameters, laid out as torchsummary prints it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from milair.model import backbones, heads
from milair.model.heads import MaxOverMap
from milair.recipe import LinearHead, Recipe

_MB = 1024**2
_BOTH_WAYS = 2  # an output and its gradient
_NAMES: dict[type[nn.Module], str] = {MaxOverMap: "AdaptiveMaxPool2d"}  # the document's name for the same


@dataclass(frozen=True, slots=True)
class Layer:
    name: str  # "Conv2d-1"
    shape: tuple[int, ...]  # of its output, without the batch
    parameters: int


@dataclass(frozen=True, slots=True)
class Table:
    """Layers in the order in which they compute, and what they come to; MB are of 1024 x 1024 bytes."""

    layers: tuple[Layer, ...]
    size: heads.Size
    input_mb: float
    pass_mb: float  # outputs of all layers for one picture, forward and backward

    @property
    def total_mb(self) -> float:
        return self.input_mb + self.pass_mb + self.size.megabytes

    @property
    def sums(self) -> dict[str, str]:
        """What stands below the layers."""
        return {
            "Total params": f"{self.size.total:,}",
            "Trainable params": f"{self.size.trainable:,}",
            "Non-trainable params": f"{self.size.total - self.size.trainable:,}",
            "Input size (MB)": f"{self.input_mb:.2f}",
            "Forward/backward pass size (MB)": f"{self.pass_mb:.2f}",
            "Params size (MB)": f"{self.size.megabytes:.2f}",
            "Estimated Total Size (MB)": f"{self.total_mb:.2f}",
        }


def table(recipe: Recipe, classes: int) -> Table:
    """The layers of a recipe's model. Nothing is computed or loaded: a picture passes on torch's meta device."""
    width, height = recipe.size
    found: list[tuple[str, tuple[int, ...], int]] = []

    def note(module: nn.Module, _: object, output: Tensor) -> None:
        own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        shape = (*output.shape[1:], 1, 1) if isinstance(module, MaxOverMap) else tuple(output.shape[1:])
        found.append((_NAMES.get(type(module), type(module).__name__), shape, own))

    backbone = backbones.on_meta(recipe.backbone, recipe.pooling)
    for module in (*backbone.body.modules(), *backbone.pool.modules()):
        if not isinstance(module, nn.Sequential | nn.ModuleList):
            module.register_forward_hook(note)
    picture = torch.empty(1, 3, height, width, device="meta")
    features = backbone(picture)
    if isinstance(recipe.cls_head, LinearHead) or isinstance(recipe.reg_head, LinearHead):
        flat = (math.prod(features.shape[1:]),)
        found += [("Flatten", flat, 0), ("Dropout", flat, 0)]  # printed once: the notebook's heads share them
    found.append(("FeatureExtractor", found[-1][1], 0))
    with torch.device("meta"):
        trained = heads.Heads(recipe, tuple(features.shape[1:]), classes).eval()
    for module in trained.modules():
        if not isinstance(module, nn.Sequential | heads.Heads | nn.Flatten | nn.Dropout):
            module.register_forward_hook(note)
    trained.cls_head(features)  # printed first
    trained.reg_head(features)
    outputs = sum(math.prod(shape) for _, shape, _ in found)
    return Table(
        tuple(Layer(f"{name}-{number}", shape, own) for number, (name, shape, own) in enumerate(found, 1)),
        heads.size(recipe, classes),
        input_mb=4 * picture.numel() / _MB,
        pass_mb=_BOTH_WAYS * 4 * outputs / _MB,
    )
