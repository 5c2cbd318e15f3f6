"""Backbones: any classification model with a spatial map, torchvision's or timm's, frozen, cut before its pooling.

What one of torchvision's gives is what the model's own classifier would read, to the last bit, before its pooling: a
test puts the two together again for every family. What torchvision does in `forward` rather than in a layer is made a
layer here.

Weights fit strictly, or are refused.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Self

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from milair.errors import MilairError, first_line
from milair.model import zoo
from milair.model.preprocessing import IMAGENET_MEAN, IMAGENET_STD
from milair.recipe import FeatureMap

_END = ("avgpool", "classifier", "fc", "head")  # the first of a model's children that is no part of its body
_SIDE_EXITS = ("aux1", "aux2", "AuxLogits")  # of Inceptions: they end in a loss, and only in training


class Backbone(nn.Module):
    """Normalised pictures [n, 3, height, width] to features [n, channels, rows, columns]; frozen as it is built."""

    def __init__(self, body: nn.Module, pool: nn.Module) -> None:
        super().__init__()
        self.body, self.pool = body, pool
        self.requires_grad_(False).eval()

    def forward(self, pictures: Tensor) -> Tensor:
        last, *before = self.maps(pictures)
        features: Tensor = self.pool(last)
        rows, columns = features.shape[2:]
        for larger in before:
            features = torch.cat([features, adaptive_avg_pool2d(larger, (rows, columns))], dim=1)
        return features

    def maps(self, pictures: Tensor) -> list[Tensor]:
        """The last map, as large as pictures make it, before any pooling; with two stages the one before it as well."""
        maps: list[Tensor] = self.body(pictures)
        if maps[0].dim() != 4:
            raise MilairError(f"this backbone has no spatial map: it gives {maps[0].dim()} dimensions instead of 4")
        if len(maps) == 2 and maps[1].shape[2] <= maps[0].shape[2]:
            raise MilairError("two stages need maps of two sizes, and its last two are of one")
        return maps

    def unfreeze(self, blocks: int) -> list[nn.Parameter]:
        """The parameters of its last `blocks`, which take gradients from now on. MilairError if it has fewer.

        Its children are its blocks, or theirs where they stand in a sequence: a Fire module of a SqueezeNet, a residual
        block of a ResNet. What holds no matrix of weights, such as a BatchNorm, belongs to the block before it."""
        *_, last = self.body.children()
        children = (last.model if isinstance(last, _Timm) else self.body).children()
        layers = [layer for child in children for layer in (child if isinstance(child, nn.Sequential) else [child])]
        starts = [n for n, layer in enumerate(layers) if any(weight.dim() > 1 for weight in layer.parameters())]
        if not 1 <= blocks <= len(starts):
            raise MilairError(f"--unfreeze {blocks}: this backbone has blocks 1 to {len(starts)}")
        parameters = [weight for layer in layers[starts[-blocks] :] for weight in layer.parameters()]
        for weight in parameters:
            weight.requires_grad_()
        return parameters

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002
        """Its layers stay in eval mode, so that their BatchNorm statistics cannot drift."""
        return super().train(False)


class _Rescale(nn.Module):
    """Pictures normalised as ImageNet's are, by the mean and the deviation that a model's weights expect instead."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, pictures: Tensor) -> Tensor:
        channels = zip(IMAGENET_MEAN, IMAGENET_STD, self.mean, self.std, strict=True)
        scaled = [
            pictures[:, channel] * (old_std / std) + (old_mean - mean) / std
            for channel, (old_mean, old_std, mean, std) in enumerate(channels)
        ]
        return torch.stack(scaled, dim=1)


class _Layers(nn.Sequential):
    """torchvision's layers: pictures to the last map, and with two stages also to the last one that was larger."""

    def __init__(self, layers: Sequence[nn.Module], stages: int) -> None:
        super().__init__(*layers)
        self.stages = stages

    def forward(self, pictures: Tensor) -> list[Tensor]:
        if self.stages == 1:
            return [super().forward(pictures)]  # type: ignore[no-untyped-call]
        last = before = pictures
        for layer in _unnested(self):
            after = layer(last)
            if isinstance(layer, torchvision.ops.Permute):  # a Swin puts channels last, and at its end first again
                before = layer(before)
            elif after.shape[2] < last.shape[2]:  # rows, or columns where channels are last
                before = last
            last = after
        return [last, before]


def _unnested(layers: nn.Sequential) -> Iterator[nn.Module]:
    for layer in layers:
        yield from _unnested(layer) if isinstance(layer, nn.Sequential) else [layer]


class _Timm(nn.Module):
    """A model of timm's without its classifier: pictures to the maps of its last stages, the last one first."""

    def __init__(self, model: Any, stages: int) -> None:
        super().__init__()
        self.model = model
        self.indices = model.prune_intermediate_layers(stages, prune_norm=False, prune_head=True)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.model.forward_intermediates(
            pictures, indices=self.indices, norm=True, output_fmt="NCHW", intermediates_only=True
        )
        return maps[::-1]


class _WithoutNumbers(torch.overrides.TorchFunctionMode):
    """Layers built in here have no memory, only shapes (torch's meta device): to be loaded, or counted.

    A VGG draws 120 million numbers for a classifier that is then cut off. `torch.device("meta")` would do, but a
    RegNet computes its widths with tensors."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        empty = {"device": "meta"} if func in (torch.empty, torch.zeros) else {}  # a Swin draws into zeros
        return func(*args, **(kwargs or {}) | empty)


def build(feature_map: FeatureMap, state: dict[str, Tensor] | None = None) -> Backbone:
    """The backbone with these weights, or with the seeded random ones."""
    name = feature_map.backbone
    if state is None:
        with _seeded():
            return _cut(feature_map, zoo.model(name))
    if name.startswith("densenet"):  # torchvision's own files have kept the names of an older torch
        state = {re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.(?=[12]\.)", r"\1", key): state[key] for key in state}
    model = _unloaded(name, side_exits=any(key.startswith(_SIDE_EXITS) for key in state))
    try:
        model.load_state_dict(state, strict=True, assign=True)
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        raise MilairError(
            f"these weights are not those of {zoo.library(name)}'s {name.removeprefix(zoo.TIMM)} ({first_line(error)})"
        ) from None
    backbone = _cut(feature_map, model).float()
    # Held as new layers are: laid out in memory as in a file, the same numbers may add up to others.
    backbone._apply(lambda tensor: tensor.clone(memory_format=torch.contiguous_format))  # type: ignore[no-untyped-call]
    return backbone


def without_numbers(feature_map: FeatureMap) -> Backbone:
    """The backbone, to be loaded with `assign`. Its weights have no memory, or timm's random values; what is no weight
    is as it should be."""
    return _cut(feature_map, _unloaded(feature_map.backbone))


def on_meta(feature_map: FeatureMap) -> Backbone:
    """The backbone on torch's meta device: what passes through it has a shape and no values."""
    return without_numbers(feature_map).to("meta")


@lru_cache(maxsize=64)
def measure(feature_map: FeatureMap, size: tuple[int, int]) -> tuple[tuple[int, ...], int]:
    """Shape of the features (channels, rows, columns) of pictures of `size`, and the number of parameters.

    Nothing is computed or loaded: the pictures pass on torch's meta device."""
    backbone = on_meta(feature_map)
    try:
        features = backbone(torch.empty(1, 3, size[1], size[0], device="meta"))
    except (MilairError, RuntimeError, AssertionError) as error:
        raise MilairError(
            f"backbone {feature_map.backbone} cannot take pictures of {size[0]}x{size[1]}: {first_line(error)}"
        ) from None
    return tuple(features.shape[1:]), sum(parameter.numel() for parameter in backbone.parameters())


@contextmanager
def _seeded() -> Iterator[None]:
    """The one initialisation that "random" weights means; nobody else's random numbers are disturbed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(zoo.RANDOM_SEED)
        yield


def _unloaded(name: str, side_exits: bool = False) -> nn.Module:
    """A model whose weights are still to come. timm's are drawn: its models fill empty tensors that are no weights."""
    with _seeded() if name.startswith(zoo.TIMM) else _WithoutNumbers():
        return zoo.model(name, side_exits)


def _cut(feature_map: FeatureMap, model: Any) -> Backbone:
    name, stages = feature_map.backbone, feature_map.stages
    if name.startswith(zoo.TIMM):
        expected = [model.pretrained_cfg[numbers] for numbers in ("mean", "std")]
        rescale = [] if expected == [IMAGENET_MEAN, IMAGENET_STD] else [_Rescale(*expected)]
        return Backbone(nn.Sequential(*rescale, _Timm(model, stages)), _pool(feature_map))
    layers: list[nn.Module] = [_Rescale([0.5] * 3, [0.5] * 3)] if name in zoo.INCEPTIONS else []
    for child, module in model.named_children():
        if child in _END:
            break
        if child not in _SIDE_EXITS:
            layers += module if isinstance(module, nn.ModuleList) else [module]  # MaxViT keeps its blocks in a list
    if name.startswith("densenet"):
        layers.append(nn.ReLU())  # in torchvision it is a function call in `forward`
    return Backbone(_Layers(layers, stages), _pool(feature_map, getattr(model, "avgpool", None)))


def _pool(feature_map: FeatureMap, own: nn.Module | None = None) -> nn.Module:
    """What the last map is averaged by; `own` is the model's own pooling, where it has one."""
    if feature_map.pooling == "own" and own is not None:
        return own
    if feature_map.pooling == "global":
        return nn.AdaptiveAvgPool2d(1)
    if feature_map.grid == "full":
        return nn.Identity()
    columns, rows = feature_map.grid.split("x")
    return nn.AdaptiveAvgPool2d((int(rows), int(columns)))
