"""The models that backbones are cut from, torchvision's and timm's, and their pretrained weights.

Weights are loaded as data only (`weights_only`). Nothing here ever falls back to random ones.
"""

import hashlib
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
import torchvision
from torch import Tensor, nn

from milair.errors import MilairError, first_line

RANDOM_SEED = 32  # the one initialisation that "random" weights means
TIMM = "timm:"  # before the name of one of its models
INCEPTIONS = ("googlenet", "inception_v3")


def names() -> list[str]:
    """torchvision's classifiers but for its vision transformers, which read a picture as a sequence of patches."""
    return [name for name in torchvision.models.list_models(module=torchvision.models) if not name.startswith("vit_")]


def model(name: str, side_exits: bool = False) -> nn.Module:
    """A model as its library builds it, its weights drawn. MilairError if there is no such model."""
    check(name)
    if name.startswith(TIMM):
        return timm_model(name)
    # Asked to, Inceptions draw their weights from a truncated normal, which takes long; not asked, they warn.
    asked = {"aux_logits": side_exits, "init_weights": False} if name in INCEPTIONS else {}
    model: nn.Module = torchvision.models.get_model(name, weights=None, **asked)
    return model


def timm_model(name: str, **weights: Any) -> nn.Module:
    """timm's model, for pictures of any size where it can."""
    import timm

    name = name.removeprefix(TIMM)
    try:
        return timm.create_model(name, dynamic_img_size=True, **weights)
    except TypeError:  # most models know no such option, and those that are convolutional need none
        return timm.create_model(name, **weights)


def load_state(name: str, source: str) -> dict[str, Tensor]:
    """Pretrained weights of a backbone, as a state dict on the CPU.

    `source` is "imagenet" (torchvision's or timm's own, from their caches or downloads), a file, or a folder with one
    (see `file`). MilairError says both ways out where none are to be had.
    """
    check(name)
    path = file(name, source)
    if source != "imagenet" and not path.is_file():
        raise MilairError(
            f"{path}: no weights for {name} there; give --weights FILE|DIR with {_stem(name)}.pth, or 'imagenet'"
        )
    try:
        if source != "imagenet":
            safe = path.suffix == ".safetensors"
            state = safetensors.torch.load_file(path) if safe else torch.load(path, "cpu", weights_only=True)
        elif name.startswith(TIMM):
            state = timm_model(name, pretrained=True).state_dict()
        else:
            url = torchvision.models.get_model_weights(name)["DEFAULT"].url
            # As it is: a copy would lose the version that torch keeps beside the tensors and an MNASNet asks for.
            state = torch.hub.load_state_dict_from_url(url, map_location="cpu", check_hash=True, weights_only=True)
    except Exception as error:  # no network, a broken download or file: torch raises many kinds
        if source != "imagenet":
            raise MilairError(f"{path}: not a file of weights ({first_line(error)})") from error
        raise MilairError(
            f"the ImageNet weights of {name} are neither in {library(name)}'s cache nor to be downloaded "
            f"({first_line(error)}); give --weights FILE|DIR with {_stem(name)}.pth, or --weights random"
        ) from None
    # Anything else must stop here: None, for one, would mean random weights further on.
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise MilairError(f"{path}: not a file of weights (it must hold a state dict: names and tensors)")
    return state


def file(name: str, source: str) -> Path:
    """The file of weights that a file or a folder means; it may not be there.

    In a folder it is `resnet18.pth`, or for "timm:resnet18" `timm-resnet18.pth`, or the same with `.safetensors`."""
    path = Path(source)
    if not path.is_dir():
        return path
    safe = path / f"{_stem(name)}.safetensors"
    return safe if safe.is_file() else path / f"{_stem(name)}.pth"


def _stem(name: str) -> str:
    return name.replace(":", "-")


def library(name: str) -> str:
    """Whose model it is."""
    return "timm" if name.startswith(TIMM) else "torchvision"


def check(name: str) -> None:
    """MilairError if there is no such model."""
    if name.startswith(TIMM):
        try:
            import timm
        except ImportError:
            raise MilairError(f"backbone '{name}' needs timm: pip install 'milair[timm]'") from None
        if name.removeprefix(TIMM) not in {*timm.list_models(), *timm.list_models(include_tags=True)}:
            raise MilairError(f"backbone '{name}' is not one of timm's models; timm.list_models() has them")
    elif name not in names():
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
