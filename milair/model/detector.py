"""A trained model on disk: a folder with `model.safetensors` and `model.json`, which holds all that predicting needs.

The tensors are the whole model's, backbone included, so that a checkpoint predicts without weights, bank or study.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor, nn

from milair.boxes import to_pixels
from milair.errors import MilairError, first_line
from milair.features.preprocessing import decode, normalise
from milair.frames.pictures import look_at
from milair.model import backbones
from milair.model.heads import Heads
from milair.recipe import Recipe

FORMAT = 1
_FILES = ("model.safetensors", "model.json")
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Prediction:
    """The one object of a picture; the box is (xmin, ymin, xmax, ymax) in whole pixels of the picture."""

    path: Path
    label: str
    probability: float  # 0 to 1
    box: tuple[int, int, int, int]


class Detector(nn.Module):
    """Pictures uint8 [n, 3, height, width] of the recipe's size to logits [n, classes] and boxes [n, 4] in shares."""

    def __init__(self, recipe: Recipe, classes: Sequence[str], mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.recipe, self.classes, self.mean, self.std = recipe, tuple(classes), tuple(mean), tuple(std)
        self.backbone = backbones.build(recipe.backbone, recipe.pooling)
        shape, _ = backbones.measure(recipe.backbone, recipe.pooling, recipe.size)
        self.heads = Heads(recipe, shape, len(classes))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        logits, boxes = self.heads(self.backbone(normalise(pictures.float() / 255, self.mean, self.std)))
        return logits, boxes

    def predict(self, paths: Sequence[Path]) -> Iterator[Prediction]:
        """Predictions for picture files, in their order. MilairError names one that cannot be decoded."""
        self.eval()
        device = next(self.heads.parameters()).device
        for first in range(0, len(paths), _BATCH):
            batch = paths[first : first + _BATCH]
            pictures = torch.stack([decode(path, self.recipe.size) for path in batch])
            with torch.inference_mode():
                logits, boxes = self(pictures.to(device))
            best = logits.softmax(1).max(1)
            for path, share, label, box in zip(
                batch, best.values.tolist(), best.indices.tolist(), boxes.tolist(), strict=True
            ):
                known = look_at(path)
                yield Prediction(path, self.classes[label], share, to_pixels(box, known.width, known.height))


def save(folder: Path, detector: Detector, about: dict[str, Any]) -> None:
    """Write a checkpoint; `about` is kept beside what the model needs. The JSON comes last and makes it complete."""
    values = {
        "format": FORMAT,
        "recipe": detector.recipe.to_json(),
        "classes": list(detector.classes),
        "preprocessing": {
            "channels": "RGB",
            "size": list(detector.recipe.size),
            "resize": "bilinear, aspect not kept",
            "range": [0, 1],
            "mean": list(detector.mean),
            "std": list(detector.std),
        },
        **about,
    }
    tensors = {name: tensor.contiguous().cpu() for name, tensor in detector.state_dict().items()}
    beside = [folder / f".{name}.{os.getpid()}" for name in _FILES]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in zip(beside, (serialise(tensors), json.dumps(values, indent=2).encode()), strict=True):
            file.write_bytes(content)
        (folder / "model.json").unlink(missing_ok=True)
        for file, name in zip(beside, _FILES, strict=True):
            file.replace(folder / name)
    except OSError as error:  # a full disk: there is no room beside the old checkpoint, which stays whole
        for file in beside:
            file.unlink(missing_ok=True)
        raise MilairError(f"{folder}: {error.strerror}; the model was not saved") from error


def load(folder: Path, device: torch.device) -> Detector:
    """The model of a checkpoint, in eval mode. MilairError if the folder does not hold one."""
    if not (folder / "model.json").is_file():
        raise MilairError(f"{folder}: there is no model there (no model.json); python -m milair.retrain makes one")
    try:
        about = json.loads((folder / "model.json").read_text())
        if about["format"] != FORMAT:
            raise MilairError(f"{folder}: its format is {about['format']}; this milair reads {FORMAT}")
        scale = about["preprocessing"]
        detector = Detector(Recipe.from_json(about["recipe"]), about["classes"], scale["mean"], scale["std"])
        detector.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise MilairError(f"{folder}: not a whole checkpoint ({first_line(error)})") from error
    return detector.to(device).eval()
