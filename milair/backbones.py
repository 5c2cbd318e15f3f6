"""Backbones: any torchvision classification model with a spatial map, frozen, in eval mode, cut before its pooling.

Weights are loaded strictly and as data only (`weights_only`). Nothing here ever falls back to random ones.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from milair.errors import MilairError, first_line

GRID = 7  # a linear or convolutional head reads a 7x7 map
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RANDOM_SEED = 32  # the one initialisation that "random" weights means
_SIDE_EXITS = ("googlenet", "inception_v3")  # not a chain of layers, and pretrained on pictures scaled otherwise
_CLASSIFIERS = ("classifier", "fc", "head", "heads")


class Backbone(nn.Module):
    """Normalised pictures [n, 3, height, width] to features [n, channels, rows, columns]; never trains."""

    def __init__(self, body: nn.Sequential, pool: nn.Module) -> None:
        super().__init__()
        self.body, self.pool = body, pool
        self.requires_grad_(False)
        self.eval()

    def forward(self, pictures: Tensor) -> Tensor:
        features = self.body(pictures)
        if features.dim() != 4:
            raise MilairError(f"this backbone has no spatial map: it gives {features.dim()} dimensions instead of 4")
        pooled: Tensor = self.pool(features)
        return pooled

    def train(self, mode: bool = True) -> Backbone:  # noqa: ARG002
        """Frozen layers stay in eval mode, so that their BatchNorm statistics cannot drift."""
        return super().train(False)


def names() -> list[str]:
    return [name for name in torchvision.models.list_models(module=torchvision.models) if name not in _SIDE_EXITS]


def build(name: str, pooling: str, state: dict[str, Tensor] | None = None) -> Backbone:
    """The backbone with these weights, or with the seeded random ones."""
    _check(name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        model: Any = torchvision.models.get_model(name, weights=None)
    if state is not None:
        try:
            model.load_state_dict(state, strict=True)
        except (RuntimeError, AttributeError, TypeError) as error:
            raise MilairError(f"these weights are not those of torchvision's {name} ({first_line(error)})") from None
    parts = []
    for child, module in model.named_children():
        if child == "avgpool" or child in _CLASSIFIERS:
            break
        parts.append((child, module))
    if name.startswith("densenet"):
        parts.append(("relu", nn.ReLU()))  # in torchvision it is a function call in `forward`
    body = nn.Sequential(*(module for _, module in parts))
    pool = getattr(model, "avgpool", None) if pooling == "own" else None
    return Backbone(body, pool or nn.AdaptiveAvgPool2d(1 if pooling == "global" else GRID))


@lru_cache(maxsize=64)
def measure(name: str, pooling: str, size: tuple[int, int]) -> tuple[tuple[int, int, int], int]:
    """Shape of the features (channels, rows, columns) of pictures of `size`, and the number of parameters.

    Nothing is computed or loaded: the pictures pass on torch's meta device."""
    backbone = build(name, pooling).to("meta")
    try:
        features = backbone(torch.empty(1, 3, size[1], size[0], device="meta"))
    except (MilairError, RuntimeError, AssertionError) as error:
        raise MilairError(f"backbone {name} cannot take pictures of {size[0]}x{size[1]}: {first_line(error)}") from None
    channels, rows, columns = features.shape[1:]
    return (channels, rows, columns), sum(parameter.numel() for parameter in backbone.parameters())


def load_state(name: str, source: str) -> dict[str, Tensor]:
    """Pretrained weights of a torchvision model, as a state dict on the CPU.

    `source` is "imagenet" (torchvision's own, from its cache or its download), a file, or a folder with
    `<name>.pth`. MilairError says both ways out where none are to be had.
    """
    _check(name)
    if source == "imagenet":
        return _torchvision_state(name)
    path = file(name, source)
    if not path.is_file():
        raise MilairError(
            f"{path}: no weights for {name} there; give --weights FILE|DIR with {name}.pth, or 'imagenet'"
        )
    try:
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a broken file; each means the same to the reader
        raise MilairError(f"{path}: not a file of weights ({first_line(error)})") from error
    # Anything else must stop here: None, for one, would mean random weights further on.
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise MilairError(f"{path}: not a file of weights (it must hold a state dict: names and tensors)")
    return state


def file(name: str, source: str) -> Path:
    """The file of weights that a file or a folder means; it may not be there."""
    path = Path(source)
    return path / f"{name}.pth" if path.is_dir() else path


def _check(name: str) -> None:
    if name not in names():
        raise MilairError(f"backbone '{name}' is not a torchvision classification model; e.g. squeezenet1_0, resnet18")


def fingerprint(state: dict[str, Tensor] | None) -> str:
    """A hash of names and values, the same wherever the file lay; of seeded random weights, their seed."""
    if state is None:
        return f"random-{RANDOM_SEED}"
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode() + state[key].detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _torchvision_state(name: str) -> dict[str, Tensor]:
    weights = torchvision.models.get_model_weights(name)["DEFAULT"]
    try:
        return dict(
            torch.hub.load_state_dict_from_url(weights.url, map_location="cpu", check_hash=True, weights_only=True)
        )
    except Exception as error:  # no network, a broken download, a broken file in the cache: one meaning to the reader
        raise MilairError(
            f"the ImageNet weights of {name} are neither in torchvision's cache nor to be downloaded "
            f"({first_line(error)}); give --weights FILE|DIR with {name}.pth, or --weights random"
        ) from None
