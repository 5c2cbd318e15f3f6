"""Validation of a second look: on pictures cropped where the first look, which is frozen, says."""

from collections.abc import Iterator

import torch
from PIL.Image import Image
from torch import Tensor

from milair.features.bank import Bank
from milair.model.cascade import cut_about, decide, read
from milair.model.detector import Detector
from milair.model.heads import Heads
from milair.model.preprocessing import opened
from milair.recipe import Recipe
from milair.training.outputs import Outputs, evaluate

_TOGETHER = 8  # whole pictures in memory at once


class Cascade:
    """Both looks of a recipe. The crops that the second one sees first are extracted once."""

    def __init__(self, recipe: Recipe, bank: Bank, first: Heads, second: Heads) -> None:
        assert bank.second is not None
        assert bank.extract is not None
        extract = bank.extract
        self.recipe, self.second, self.pictures = recipe, second, bank.second.val
        self.detector = Detector(extract.preprocessing, extract.backbone, first, recipe, bank.classes, second)
        outputs = evaluate(first, bank.val)
        self.first = outputs.logits.softmax(1), outputs.boxes
        self.seen: list[tuple[Tensor, Tensor]] = []  # features and crops of a batch
        for pictures, (_, boxes) in self._batches():
            shown, squares = cut_about(pictures, boxes.cpu(), recipe)
            self.seen.append((extract(shown), squares))

    def evaluate(self) -> Outputs:
        """Outputs of one iteration, for each picture."""
        self.second.eval()
        with torch.inference_mode():
            outputs = [read(self.second, features, crops) for features, crops in self.seen]
            probabilities, boxes = (torch.cat(batches) for batches in zip(*outputs, strict=True))
            return Outputs(decide(self.first[0], probabilities, self.recipe).log(), boxes)

    def evaluate_all(self) -> Outputs:
        """Outputs of all iterations, as a prediction makes them."""
        self.detector.eval()
        outputs = [self.detector.detect(pictures, first=first) for pictures, first in self._batches()]
        probabilities, boxes = (torch.cat(batches) for batches in zip(*outputs, strict=True))
        return Outputs(probabilities.log(), boxes)

    def _batches(self) -> Iterator[tuple[list[Image], tuple[Tensor, Tensor]]]:
        """Pictures, and what the first look came to."""
        for start in range(0, len(self.pictures), _TOGETHER):
            batch = slice(start, start + _TOGETHER)
            yield [opened(picture) for picture in self.pictures[batch]], (self.first[0][batch], self.first[1][batch])
