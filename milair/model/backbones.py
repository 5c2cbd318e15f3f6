"""Backbones: any torchvision classification model with a spatial map, frozen, in eval mode, cut before its pooling.

What a backbone gives is what the model's own classifier would read, to the last bit, before its pooling: a test puts
the two together again for every family. What torchvision does in `forward` rather than in a layer is made a layer here.

Weights are loaded strictly and as data only (`weights_only`). Nothing here ever falls back to random ones.
"""

import hashlib
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import torch
import torchvision
from torch import Tensor, nn

from milair.errors import MilairError, first_line
from milair.model.preprocessing import IMAGENET_MEAN, IMAGENET_STD

GRID = 7  # a linear or convolutional head reads a 7x7 map
RANDOM_SEED = 32  # the one initialisation that "random" weights means
_END = ("avgpool", "classifier", "fc", "head")  # the first of a model's children that is no part of its body
_INCEPTIONS = ("googlenet", "inception_v3")
_SIDE_EXITS = ("aux1", "aux2", "AuxLogits")  # of Inceptions: they end in a loss, and only in training


class Backbone(nn.Module):
    """Normalised pictures [n, 3, height, width] to features [n, channels, rows, columns]; never trains."""

    def __init__(self, body: nn.Sequential, pool: nn.Module) -> None:
        super().__init__()
        self.body, self.pool = body, pool
        self.requires_grad_(False)
        self.eval()

    def forward(self, pictures: Tensor) -> Tensor:
        features: Tensor = self.pool(self.map(pictures))
        return features

    def map(self, pictures: Tensor) -> Tensor:
        """The model's last map, as large as the pictures make it, before any pooling."""
        features: Tensor = self.body(pictures)
        if features.dim() != 4:
            raise MilairError(f"this backbone has no spatial map: it gives {features.dim()} dimensions instead of 4")
        return features

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002
        """Frozen layers stay in eval mode, so that their BatchNorm statistics cannot drift."""
        return super().train(False)


class _Rescale(nn.Module):
    """Pictures normalised as ImageNet's are, scaled from -1 to 1 instead, as the weights of Inceptions expect."""

    def forward(self, pictures: Tensor) -> Tensor:
        scaled = [
            pictures[:, channel] * (std / 0.5) + (mean - 0.5) / 0.5
            for channel, (mean, std) in enumerate(zip(IMAGENET_MEAN, IMAGENET_STD, strict=True))
        ]
        return torch.stack(scaled, dim=1)


class _WithoutNumbers(torch.overrides.TorchFunctionMode):
    """Layers built in here have no memory, only shapes (torch's meta device): to be loaded, or counted.

    A VGG draws 120 million numbers for a classifier that is then cut off. `torch.device("meta")` would do, but a
    RegNet computes its widths with tensors."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        empty = {"device": "meta"} if func in (torch.empty, torch.zeros) else {}  # a Swin draws into zeros
        return func(*args, **(kwargs or {}) | empty)


def names() -> list[str]:
    """torchvision's classifiers but for its vision transformers, which read a picture as a sequence of patches."""
    return [name for name in torchvision.models.list_models(module=torchvision.models) if not name.startswith("vit_")]


def build(name: str, pooling: str, state: dict[str, Tensor] | None = None) -> Backbone:
    """The backbone with these weights, or with the seeded random ones."""
    if state is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(RANDOM_SEED)
            return _cut(name, _model(name), pooling)
    if name.startswith("densenet"):  # torchvision's own files have kept the names of an older torch
        state = {re.sub(r"(\.denselayer\d+\.(?:norm|conv))\.(?=[12]\.)", r"\1", key): state[key] for key in state}
    with _WithoutNumbers():
        model = _model(name, side_exits=any(key.startswith(_SIDE_EXITS) for key in state))
    try:
        model.load_state_dict(state, strict=True, assign=True)
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        raise MilairError(f"these weights are not those of torchvision's {name} ({first_line(error)})") from None
    backbone = _cut(name, model, pooling).float()
    # Held as new layers are: laid out in memory as in a file, the same numbers may add up to others.
    backbone._apply(lambda tensor: tensor.clone(memory_format=torch.contiguous_format))  # type: ignore[no-untyped-call]
    return backbone


def without_numbers(name: str, pooling: str) -> Backbone:
    """The backbone, its weights without memory, to be loaded with `assign`; what is no weight is as it should be."""
    with _WithoutNumbers():
        return _cut(name, _model(name), pooling)


def on_meta(name: str, pooling: str) -> Backbone:
    """The backbone on torch's meta device: what passes through it has a shape and no values."""
    return without_numbers(name, pooling).to("meta")


@lru_cache(maxsize=64)
def measure(name: str, pooling: str, size: tuple[int, int]) -> tuple[tuple[int, ...], int]:
    """Shape of the features (channels, rows, columns) of pictures of `size`, and the number of parameters.

    Nothing is computed, drawn or loaded: the pictures pass on torch's meta device."""
    backbone = on_meta(name, pooling)
    try:
        features = backbone(torch.empty(1, 3, size[1], size[0], device="meta"))
    except (MilairError, RuntimeError, AssertionError) as error:
        raise MilairError(f"backbone {name} cannot take pictures of {size[0]}x{size[1]}: {first_line(error)}") from None
    return tuple(features.shape[1:]), sum(parameter.numel() for parameter in backbone.parameters())


def _model(name: str, side_exits: bool = False) -> nn.Module:
    _check(name)
    # Asked to, Inceptions draw their weights from a truncated normal, which takes long; not asked, they warn.
    asked = {"aux_logits": side_exits, "init_weights": False} if name in _INCEPTIONS else {}
    model: nn.Module = torchvision.models.get_model(name, weights=None, **asked)
    return model


def _cut(name: str, model: nn.Module, pooling: str) -> Backbone:
    layers: list[nn.Module] = [_Rescale()] if name in _INCEPTIONS else []
    for child, module in model.named_children():
        if child in _END:
            break
        if child not in _SIDE_EXITS:
            layers += module if isinstance(module, nn.ModuleList) else [module]  # MaxViT keeps its blocks in a list
    if name.startswith("densenet"):
        layers.append(nn.ReLU())  # in torchvision it is a function call in `forward`
    return Backbone(nn.Sequential(*layers), _pool(model, pooling))


def _pool(model: nn.Module, pooling: str) -> nn.Module:
    own: nn.Module | None = getattr(model, "avgpool", None) if pooling == "own" else None
    return own or nn.AdaptiveAvgPool2d(1 if pooling == "global" else GRID)


def load_state(name: str, source: str) -> dict[str, Tensor]:
    """Pretrained weights of a torchvision model, as a state dict on the CPU.

    `source` is "imagenet" (torchvision's own, from its cache or its download), a file, or a folder with
    `<name>.pth`. MilairError says both ways out where none are to be had.
    """
    _check(name)
    path = file(name, source)
    if source != "imagenet" and not path.is_file():
        raise MilairError(
            f"{path}: no weights for {name} there; give --weights FILE|DIR with {name}.pth, or 'imagenet'"
        )
    try:
        if source == "imagenet":
            url = torchvision.models.get_model_weights(name)["DEFAULT"].url
            # As it is: a copy would lose the version that torch keeps beside the tensors and an MNASNet asks for.
            state = torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # no network, a broken download or file: torch raises many kinds
        if source != "imagenet":
            raise MilairError(f"{path}: not a file of weights ({first_line(error)})") from error
        raise MilairError(
            f"the ImageNet weights of {name} are neither in torchvision's cache nor to be downloaded "
            f"({first_line(error)}); give --weights FILE|DIR with {name}.pth, or --weights random"
        ) from None
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
        raise MilairError(
            f"backbone '{name}' is not a torchvision classification model with a spatial map; "
            "e.g. squeezenet1_0, resnet18"
        )


def fingerprint(state: dict[str, Tensor] | None) -> str:
    """A hash of names and values, the same wherever the file lay; of seeded random weights, their seed."""
    if state is None:
        return f"random-{RANDOM_SEED}"
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode() + state[key].detach().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]
