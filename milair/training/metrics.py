"""The document's metrics, each a mean over images."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional

from milair.frames.frame import Split, class_order

_EPSILON = 1e-6  # in the union, as in the document


@dataclass(frozen=True, slots=True)
class Metrics:
    """Means over images: losses ≥ 0, IoU and accuracy from 0 to 1."""

    loss: float
    cls_loss: float  # cross-entropy
    reg_loss: float  # 1 - IoU
    iou: float
    accuracy: float

    @property
    def score(self) -> float:
        """(mean IoU + accuracy) / 2, from 0 to 1."""
        return (self.iou + self.accuracy) / 2

    def to_json(self) -> dict[str, float]:
        return asdict(self)


def iou(predicted: Tensor, target: Tensor) -> Tensor:
    """Intersection over union of boxes [n, 4] (xmin, ymin, xmax, ymax), pair by pair: [n], 0 to 1.

    A predicted box whose corners are in the wrong order has no area."""
    corner = torch.maximum(predicted[:, :2], target[:, :2])
    opposite = torch.minimum(predicted[:, 2:], target[:, 2:])
    intersection = (opposite - corner).clamp(min=0).prod(1)
    union = _area(predicted) + _area(target) - intersection
    return intersection / (union + _EPSILON)


def per_image(logits: Tensor, boxes: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy, IoU and correctness (0 or 1) of each image: [n, 3]; the loss follows from their means."""
    return torch.stack(
        [
            functional.cross_entropy(logits, labels, reduction="none"),
            iou(boxes, targets),
            (logits.argmax(1) == labels).float(),
        ],
        dim=1,
    )


def loss(cross_entropy: Tensor, overlap: Tensor, alpha: float) -> Tensor:
    """(1 - alpha) * cross-entropy + alpha * (1 - mean IoU)."""
    return (1 - alpha) * cross_entropy.mean() + alpha * (1 - overlap.mean())


def mean(rows: Tensor, alpha: float) -> Metrics:
    """Metrics of the images whose `per_image` rows [n, 3] these are."""
    cross_entropy, overlap, accuracy = rows.double().mean(0).tolist()
    return Metrics(
        loss=(1 - alpha) * cross_entropy + alpha * (1 - overlap),
        cls_loss=cross_entropy,
        reg_loss=1 - overlap,
        iou=overlap,
        accuracy=accuracy,
    )


def learned_nothing(split: Split) -> float:
    """The validation score of always answering the training set's most frequent class and its mean box."""
    guess = torch.tensor([frame.box for frame in split.train]).mean(0)
    boxes = torch.tensor([frame.box for frame in split.val])
    label = class_order(split.train)[0]
    accuracy = sum(frame.label == label for frame in split.val) / len(split.val)
    return float((iou(guess.expand_as(boxes), boxes).mean() + accuracy) / 2)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)
