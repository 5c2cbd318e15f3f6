"""The document's metrics, each a mean over images."""

import torch
from torch import Tensor
from torch.nn import functional

from milair.training.values import EPSILON, Metrics


def iou(predicted: Tensor, target: Tensor) -> Tensor:
    """Intersection over union of boxes [n, 4] (xmin, ymin, xmax, ymax), pair by pair: [n], 0 to 1.

    A predicted box whose corners are in the wrong order has no area."""
    intersection, union = overlap(predicted, target)
    return intersection / (union + EPSILON)


def overlap(predicted: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Areas of intersection and union of boxes [n, 4], pair by pair: [n] each."""
    corner = torch.maximum(predicted[:, :2], target[:, :2])
    opposite = torch.minimum(predicted[:, 2:], target[:, 2:])
    intersection = (opposite - corner).clamp(min=0).prod(1)
    return intersection, _area(predicted) + _area(target) - intersection


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


def mean(rows: Tensor, alpha: float) -> Metrics:
    """Metrics of the images whose `per_image` rows [n, 3] these are."""
    cross_entropy, mean_iou, accuracy = rows.double().mean(0).tolist()
    return Metrics(
        loss=(1 - alpha) * cross_entropy + alpha * (1 - mean_iou),
        cls_loss=cross_entropy,
        reg_loss=1 - mean_iou,
        iou=mean_iou,
        accuracy=accuracy,
    )


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1)
