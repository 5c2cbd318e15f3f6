"""Trained models: pictures in, the class and the box of the one object out."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn

from milair.boxes import to_pixels
from milair.errors import MilairError
from milair.model import backbones
from milair.model.cascade import Outputs, both, cut_about, decide, mean, read
from milair.model.extractor import Extractor
from milair.model.heads import Heads
from milair.model.preprocessing import AnyPicture, Preprocessing, opened
from milair.recipe import Recipe

_LEAST = 1e-30  # of a probability, whose logarithm is taken
_TOGETHER = {"cpu": 1, "cuda": 8}  # whole pictures in memory at once; 32 of a camera are a gigabyte


Damaged = Callable[[AnyPicture, MilairError], object]  # what cannot be decoded, and why


@dataclass(frozen=True, slots=True)
class Prediction:
    """The one object of a picture; the box is (xmin, ymin, xmax, ymax) in whole pixels of the picture."""

    path: Path | None  # None for a picture that came from no file
    label: str
    probability: float  # 0 to 1
    box: tuple[int, int, int, int]


class Model(nn.Module):
    """What predicts: a detector, or several of them."""

    classes: tuple[str, ...]
    temperature: float = 1.0  # above 1 `predict` is less sure than the outputs are, below 1 surer; see calibration.py

    def detect(self, pictures: Sequence[Image.Image], flip: bool = False) -> Outputs:
        """Class probabilities [n, classes] and boxes [n, 4] in shares, for pictures that are upright and RGB.

        With `flip` each is seen mirrored as well."""
        raise NotImplementedError

    def predict(
        self, images: Iterable[AnyPicture], flip: bool = False, damaged: Damaged | None = None
    ) -> Iterator[Prediction]:
        """Predictions for files, PIL pictures or arrays uint8 [height, width, 3], in their order; each is decoded once.

        Probabilities are calibrated: see `temperature`. MilairError names what cannot be decoded; with `damaged` that
        is told so and left out."""
        self.eval()
        remaining, together = _decoded(images, damaged), _TOGETHER[next(self.parameters()).device.type]
        while batch := list(islice(remaining, together)):
            probabilities, boxes = self.detect([picture for _, picture in batch], flip)
            labels = probabilities.argmax(1).tolist()
            calibrated = cooled(probabilities, self.temperature).tolist()
            for (image, picture), row, label, box in zip(batch, calibrated, labels, boxes.tolist(), strict=True):
                path = Path(image) if isinstance(image, str | Path) else None
                yield Prediction(path, self.classes[label], row[label], to_pixels(box, *picture.size))


class Detector(Model):
    """One trained recipe. Called, it takes pictures uint8 [n, 3, height, width], as its preprocessing decodes them, to
    the first look's logits [n, classes] and boxes [n, 4] in shares."""

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

    def extract(self, pictures: Tensor) -> Tensor:
        """Features of pictures float [n, 3, height, width] in 0–1, of any size."""
        return Extractor(self.backbone, self.preprocessing, next(self.parameters()).device)(pictures)

    def first_pass(self) -> Hashable:
        """Detectors with the same one share the first look's pass through the backbone."""
        return id(self.backbone), self.preprocessing

    def second_pass(self) -> Hashable:
        """The same of the second look, about the same boxes."""
        scale = self.preprocessing.mean, self.preprocessing.std
        return id(self.backbone), *scale, self.recipe.crop_size, self.recipe.crop_margin

    def detect(self, pictures: Sequence[Image.Image], flip: bool = False, first: Outputs | None = None) -> Outputs:
        """By all looks; `first` is what the first one came to, if that is known."""
        return detect([self], pictures, flip, first)


class Ensemble(Model):
    """Several detectors as one: the mean of their probabilities and boxes, look by look.

    With `flip` it always sees pictures mirrored as well. Members that share a backbone share its passes."""

    def __init__(self, members: Sequence[Detector], flip: bool = False) -> None:
        super().__init__()
        self.members, self.flip, self.classes = nn.ModuleList(members), flip, members[0].classes

    def __iter__(self) -> Iterator[Detector]:
        return (member for member in self.members if isinstance(member, Detector))

    def detect(self, pictures: Sequence[Image.Image], flip: bool = False) -> Outputs:
        return detect(list(self), pictures, flip or self.flip)


@torch.inference_mode()
def detect(
    members: Sequence[Detector], pictures: Sequence[Image.Image], flip: bool, first: Outputs | None = None
) -> Outputs:
    """What members come to together: see `Model.detect`."""
    outputs: list[Outputs] = []
    if first is None:
        for group in grouped(members, Detector.first_pass):
            shown = torch.stack([group[0].preprocessing.resize(picture) for picture in pictures]).float() / 255
            features = group[0].extract(both(shown) if flip else shown)
            outputs += [read(member.heads, features, flip=flip) for member in group]
    probabilities, boxes = first or mean(outputs)
    again = [member for member in members if member.second is not None]
    last = probabilities
    for iteration in range(max((member.recipe.iterations for member in again), default=0)):
        outputs = []
        for group in grouped(
            [member for member in again if iteration < member.recipe.iterations], Detector.second_pass
        ):
            shown, crops = cut_about(pictures, boxes.cpu(), group[0].recipe)
            features = group[0].extract(both(shown) if flip else shown)
            outputs += [read(member.second, features, crops, flip) for member in group if member.second is not None]
        last, boxes = mean(outputs)
    return decide(probabilities, last, again[0].recipe) if again else probabilities, boxes


def cooled(probabilities: Tensor, temperature: float) -> Tensor:
    """Class probabilities float64 [n, classes] with their logarithms divided by a temperature (Guo et al. 2017)."""
    return (probabilities.double().clamp(min=_LEAST).log() / temperature).softmax(1)


def _decoded(images: Iterable[AnyPicture], damaged: Damaged | None) -> Iterator[tuple[AnyPicture, Image.Image]]:
    """Each image, and how it is shown."""
    for image in images:
        try:
            picture = opened(image)
        except MilairError as error:
            if damaged is None:
                raise
            damaged(image, error)
            continue
        yield image, picture


def grouped(members: Iterable[Detector], key: Callable[[Detector], Hashable]) -> list[list[Detector]]:
    """Members that share a pass through their backbone, together."""
    groups: dict[Hashable, list[Detector]] = {}
    for member in members:
        groups.setdefault(key(member), []).append(member)
    return list(groups.values())
