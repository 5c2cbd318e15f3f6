"""Losses: what a step of the optimizer makes smaller."""

from torch import Tensor


def weighted(cross_entropy: Tensor, iou: Tensor, alpha: float) -> Tensor:
    """(1 - alpha) * mean cross-entropy + alpha * (1 - mean IoU), of the images of a batch: [n] and [n] to a scalar."""
    return (1 - alpha) * cross_entropy.mean() + alpha * (1 - iou.mean())
