"""Outputs of a model for pictures, and what they come to."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from milair.features.bank import Part
from milair.frames.pictures import Picture
from milair.model.detector import Model
from milair.model.heads import Heads
from milair.model.preprocessing import opened
from milair.training import metrics
from milair.training.values import Metrics, Row

_TOGETHER = 512  # pictures in one forward pass of an evaluation
_OPEN = 8  # whole pictures in memory at once


@dataclass(frozen=True, slots=True)
class Outputs:
    """Outputs of heads for pictures: class logits [n, classes] and boxes [n, 4] in shares (0 to 1)."""

    logits: Tensor
    boxes: Tensor

    def metrics(self, part: Part, alpha: float) -> Metrics:
        """Means over the part's plain pictures."""
        return metrics.mean(metrics.per_image(self.logits, self.boxes, part.labels, part.boxes[0]), alpha)

    def rows(self) -> list[Row]:
        """Of each picture the class's number, its probability and the box, to five digits."""
        probability, label = self.logits.double().softmax(1).max(1)
        rows = torch.cat([label[:, None], probability[:, None], self.boxes.double()], dim=1).tolist()
        return [[int(row[0]), *(round(value, 5) for value in row[1:])] for row in rows]


def evaluate(heads: Heads, part: Part) -> Outputs:
    """Outputs for the plain pictures of a part."""
    heads.eval()
    with torch.inference_mode():
        outputs = [heads(part.rows.index_select(0, index)) for index in torch.split(part.index[0], _TOGETHER)]
        return Outputs(*(torch.cat(output) for output in zip(*outputs, strict=True)))


def predicted(model: Model, pictures: Sequence[Picture]) -> Outputs:
    """Outputs of a whole model for pictures, as it predicts them."""
    model.eval()
    batches = [pictures[start : start + _OPEN] for start in range(0, len(pictures), _OPEN)]
    outputs = [model.detect([opened(picture) for picture in batch]) for batch in batches]
    probabilities, boxes = (torch.cat(batches) for batches in zip(*outputs, strict=True))
    return Outputs(probabilities.log(), boxes)
