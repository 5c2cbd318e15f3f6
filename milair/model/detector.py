"""A trained model, and its folder on disk: `model.safetensors`, and `model.json` with all else that predicting needs.

The tensors are the whole model's, backbone included, so that a checkpoint predicts without weights, bank or study.
"""

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn

from milair.boxes import to_pixels
from milair.errors import MilairError, first_line
from milair.model import backbones
from milair.model.cascade import cut_about, decide, from_crop, read, read_both
from milair.model.extractor import Extractor
from milair.model.heads import Heads, on_meta
from milair.model.preprocessing import AnyPicture, Preprocessing, opened
from milair.recipe import Recipe

FORMAT = 1
_FILES = ("model.safetensors", "model.json")
_TOGETHER = {"cpu": 1, "cuda": 8}  # whole pictures in memory at once; 32 of a camera are a gigabyte


@dataclass(frozen=True, slots=True)
class Prediction:
    """The one object of a picture; the box is (xmin, ymin, xmax, ymax) in whole pixels of the picture."""

    path: Path | None  # None for a picture that came from no file
    label: str
    probability: float  # 0 to 1
    box: tuple[int, int, int, int]


class Detector(nn.Module):
    """Pictures uint8 [n, 3, height, width], as its preprocessing decodes them, to logits [n, classes] and boxes [n, 4]
    in shares, by its first look."""

    def __init__(
        self,
        preprocessing: Preprocessing,
        backbone: backbones.Backbone,
        heads: Heads,
        recipe: Recipe,
        classes: Sequence[str],
        second: Heads | None = None,
    ) -> None:
        super().__init__()
        self.preprocessing, self.backbone, self.heads, self.second = preprocessing, backbone, heads, second
        self.recipe, self.classes = recipe, tuple(classes)

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        logits, boxes = self.heads(self.backbone(self.preprocessing.normalise(pictures.float() / 255)))
        return logits, boxes

    @torch.inference_mode()
    def detect(
        self, pictures: Sequence[Image.Image], first: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Class probabilities [n, classes] and boxes [n, 4] in shares, for pictures that are upright and RGB, by all
        looks. `first` is what the first look came to, if that is known."""
        extract = Extractor(self.backbone, self.preprocessing, next(self.parameters()).device)
        if first is None:
            shown = torch.stack([self.preprocessing.resize(picture) for picture in pictures])
            first = read(self.heads, extract(shown.float() / 255))
        if self.second is None:
            return first
        probabilities, boxes = first
        for _ in range(self.recipe.iterations):
            shown, crops = cut_about(pictures, boxes.cpu(), self.recipe)
            probabilities, boxes = read_both(self.second, extract(shown))
            boxes = from_crop(boxes, crops.to(boxes.device))
        return decide(first[0], probabilities, self.recipe), boxes

    def predict(self, images: Iterable[AnyPicture]) -> Iterator[Prediction]:
        """Predictions for files, PIL pictures or arrays uint8 [height, width, 3], in their order; each is decoded once.

        MilairError names what cannot be decoded."""
        self.eval()
        remaining = iter(images)
        while batch := list(islice(remaining, _TOGETHER[next(self.parameters()).device.type])):
            pictures = [opened(image) for image in batch]
            probabilities, boxes = self.detect(pictures)
            best = probabilities.max(1)
            for image, picture, probability, label, box in zip(
                batch, pictures, best.values.tolist(), best.indices.tolist(), boxes.tolist(), strict=True
            ):
                path = Path(image) if isinstance(image, str | Path) else None
                yield Prediction(path, self.classes[label], probability, to_pixels(box, *picture.size))


def save(folder: Path, detector: Detector, about: dict[str, Any]) -> None:
    """Write a checkpoint; `about` is stored beside what the model needs. MilairError leaves an old one as it was.

    The JSON comes last and makes it complete."""
    values = {
        "format": FORMAT,
        "recipe": detector.recipe.to_json(),
        "classes": detector.classes,
        "preprocessing": {
            "channels": "RGB",
            "size": detector.preprocessing.size,
            "resize": "bilinear, aspect not kept",
            "range": [0, 1],
            "mean": detector.preprocessing.mean,
            "std": detector.preprocessing.std,
        },
        **about,
    }
    tensors = {name: tensor.contiguous().cpu() for name, tensor in detector.state_dict().items()}
    beside = [folder / f".{name}.{os.getpid()}" for name in _FILES]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in zip(
            beside, (safetensors.torch.save(tensors), json.dumps(values, indent=2).encode()), strict=True
        ):
            file.write_bytes(content)
        (folder / "model.json").unlink(missing_ok=True)
        for file, name in zip(beside, _FILES, strict=True):
            file.replace(folder / name)
    except OSError as error:  # a full disk: there is no room beside the old checkpoint, which stays whole
        for file in beside:
            file.unlink(missing_ok=True)
        raise MilairError(f"{folder}: {error.strerror}; the model was not saved") from error


def load(folder: Path, device: torch.device) -> Detector:
    """The model of a checkpoint, in eval mode; no random state changes. MilairError if the folder holds none."""
    if not (folder / "model.json").is_file():
        raise MilairError(f"{folder}: there is no model there (no model.json); python -m milair.retrain makes one")
    try:
        values = json.loads((folder / "model.json").read_text())
        if values["format"] != FORMAT:
            raise MilairError(f"{folder}: its format is {values['format']}; this milair reads {FORMAT}")
        recipe, classes = Recipe.from_json(values["recipe"]), values["classes"]
        heads, *second = on_meta(recipe, len(classes))
        size, mean, std = (tuple(values["preprocessing"][name]) for name in ("size", "mean", "std"))
        detector = Detector(
            Preprocessing(size, mean, std),
            backbones.without_numbers(recipe.feature_map),
            heads,
            recipe,
            classes,
            *second,
        )
        # Copies, aligned as new layers are: as they lie in the file, the same numbers may add up to others.
        tensors = {
            name: tensor.clone() for name, tensor in safetensors.torch.load_file(folder / "model.safetensors").items()
        }
        detector.load_state_dict(tensors, strict=True, assign=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, safetensors.SafetensorError) as error:
        raise MilairError(f"{folder}: not a whole checkpoint ({first_line(error)})") from error
    return detector.to(device).eval()
