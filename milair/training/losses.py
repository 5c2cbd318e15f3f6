"""Losses: what a step of the optimizer makes smaller."""

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from milair.recipe import Recipe
from milair.training.metrics import iou, overlap

_EPSILON = 1e-6


def weighted(recipe: Recipe, logits: Tensor, boxes: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """A recipe's loss for a batch: class logits [n, classes] and boxes [n, 4], and what is true, to a scalar."""
    cls_loss = functional.cross_entropy(logits, labels, reduction="none", label_smoothing=recipe.label_smoothing)
    reg_loss = box_loss(boxes, targets, recipe.box_loss)
    if recipe.l1:
        reg_loss = reg_loss + recipe.l1 * (boxes - targets).abs().mean(1)
    return (1 - recipe.alpha) * cls_loss.mean() + recipe.alpha * reg_loss.mean()


def box_loss(predicted: Tensor, target: Tensor, kind: Literal["iou", "giou", "ciou"]) -> Tensor:
    """1 - IoU, GIoU (Rezatofighi et al. 2019) or CIoU (Zheng et al. 2020) of boxes [n, 4], pair by pair: [n]."""
    loss = 1 - iou(predicted, target)
    if kind == "iou":
        return loss
    hull = torch.maximum(predicted[:, 2:], target[:, 2:]) - torch.minimum(predicted[:, :2], target[:, :2])
    if kind == "giou":
        area, (_, union) = hull.prod(1), overlap(predicted, target)
        return loss + (area - union) / (area + _EPSILON)
    between = (predicted[:, :2] + predicted[:, 2:] - target[:, :2] - target[:, 2:]) / 2  # the centres
    shape = (_angle(predicted) - _angle(target)).square() * 4 / math.pi**2
    with torch.no_grad():
        weight = shape / (loss + shape + _EPSILON)
    return loss + between.square().sum(1) / (hull.square().sum(1) + _EPSILON) + weight * shape


def _angle(boxes: Tensor) -> Tensor:
    """Of the diagonal, from 0 (narrow) to pi / 2 (flat)."""
    width, height = (boxes[:, 2:] - boxes[:, :2]).clamp(min=_EPSILON).unbind(1)
    return torch.atan(width / height)
