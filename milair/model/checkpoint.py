"""A model's folder on disk: `model.safetensors`, and `model.json` with all else that predicting needs.

The tensors are the whole model's, backbones included, so that a checkpoint predicts without weights, bank or study.
An ensemble's backbone that several members share is there once.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from milair.errors import MilairError, first_line
from milair.model import backbones
from milair.model.detector import Detector, Ensemble
from milair.model.heads import on_meta
from milair.model.preprocessing import Preprocessing
from milair.recipe import Recipe

_ONE, _SEVERAL = 1, 2  # formats: of a detector, of an ensemble
_FILES = ("model.safetensors", "model.json")


def save(folder: Path, model: Detector | Ensemble, about: Mapping[str, Any]) -> None:
    """Write a checkpoint; `about` is stored beside what the model needs. MilairError leaves an old one as it was.

    The JSON comes last and makes it complete."""
    tensors = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    if isinstance(model, Detector):
        values: dict[str, Any] = {"format": _ONE, **_described(model)}
    else:
        owners = [next(n for n, other in enumerate(model) if other.backbone is member.backbone) for member in model]
        members = [{**_described(member), "backbone": owner} for member, owner in zip(model, owners, strict=True)]
        values = {"format": _SEVERAL, "classes": model.classes, "flip": model.flip, "members": members}
        shared = tuple(_backbone(number) for number, owner in enumerate(owners) if number != owner)
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(shared)}
    values["temperature"] = model.temperature
    contents = safetensors.torch.save(tensors), json.dumps(values | dict(about), indent=2).encode()
    beside = [folder / f".{name}.{os.getpid()}" for name in _FILES]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in zip(beside, contents, strict=True):
            file.write_bytes(content)
        (folder / "model.json").unlink(missing_ok=True)
        for file, name in zip(beside, _FILES, strict=True):
            file.replace(folder / name)
    except OSError as error:  # a full disk: there is no room beside the old checkpoint, which stays whole
        for file in beside:
            file.unlink(missing_ok=True)
        raise MilairError(f"{folder}: {error.strerror}; the model was not saved") from error


def load(folder: Path, device: torch.device) -> Detector | Ensemble:
    """The model of a checkpoint, in eval mode; no random number is drawn. MilairError if the folder holds none."""
    if not (folder / "model.json").is_file():
        raise MilairError(f"{folder}: there is no model there (no model.json); python -m milair.retrain makes one")
    try:
        values = json.loads((folder / "model.json").read_text())
        if values["format"] not in (_ONE, _SEVERAL):
            raise MilairError(f"{folder}: its format is {values['format']}; this milair reads {_ONE} and {_SEVERAL}")
        # Copies, aligned as new layers are: as they lie in the file, the same numbers may add up to others.
        tensors = {
            name: tensor.clone() for name, tensor in safetensors.torch.load_file(folder / "model.safetensors").items()
        }
        model: Detector | Ensemble
        if values["format"] == _ONE:
            model = _detector(values)
        else:
            members = [_detector(member) for member in values["members"]]
            for number, about in enumerate(values["members"]):
                members[number].backbone = members[about["backbone"]].backbone
                own, its = _backbone(number), _backbone(about["backbone"])
                tensors |= {name.replace(its, own, 1): value for name, value in tensors.items() if name.startswith(its)}
            model = Ensemble(members, values["flip"])
        model.load_state_dict(tensors, strict=True, assign=True)
        model.temperature = float(values.get("temperature", 1.0))  # older checkpoints have none
        if not (math.isfinite(model.temperature) and model.temperature > 0):
            raise ValueError(f"its temperature is {model.temperature}; it must be above 0")
    except (OSError, ValueError, KeyError, TypeError, IndexError, RuntimeError, safetensors.SafetensorError) as error:
        raise MilairError(f"{folder}: not a whole checkpoint ({first_line(error)})") from error
    return model.to(device).eval()


def _described(detector: Detector) -> dict[str, Any]:
    """All that a detector is but for its tensors."""
    preprocessing = detector.preprocessing
    return {
        "recipe": detector.recipe.to_json(),
        "classes": detector.classes,
        "preprocessing": {
            "channels": "RGB",
            "size": preprocessing.size,
            "resize": "bilinear, aspect not kept",
            "range": [0, 1],
            "mean": preprocessing.mean,
            "std": preprocessing.std,
        },
    }


def _detector(described: Mapping[str, Any]) -> Detector:
    """A detector whose tensors have no memory yet."""
    recipe, classes = Recipe.from_json(described["recipe"]), described["classes"]
    size, mean, std = (tuple(described["preprocessing"][name]) for name in ("size", "mean", "std"))
    heads, *second = on_meta(recipe, len(classes))
    backbone = backbones.without_numbers(recipe.feature_map)
    return Detector(Preprocessing(size, mean, std), backbone, heads, recipe, classes, *second)


def _backbone(member: int) -> str:
    """How names of tensors of a member's backbone begin."""
    return f"members.{member}.backbone."
