"""Losses against PyTorch's and torchvision's."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import share_boxes
from torch.nn import functional
from torchvision.ops import complete_box_iou_loss, generalized_box_iou_loss

from milair import Recipe
from milair.boxes import Box
from milair.training.losses import box_loss, weighted

KINDS: list[Literal["iou", "giou", "ciou"]] = ["iou", "giou", "ciou"]


@given(st.lists(st.tuples(share_boxes(0.1), share_boxes(0.1)), min_size=1, max_size=20))
def test_box_losses_are_torchvisions(pairs: list[tuple[Box, Box]]) -> None:
    predicted, target = torch.tensor(pairs).unbind(1)
    assert torch.allclose(box_loss(predicted, target, "giou"), generalized_box_iou_loss(predicted, target), atol=2e-4)
    assert torch.allclose(box_loss(predicted, target, "ciou"), complete_box_iou_loss(predicted, target), atol=2e-4)


@pytest.mark.parametrize("reference", [generalized_box_iou_loss, complete_box_iou_loss])
def test_their_gradients_are_torchvisions(reference: object) -> None:
    kind: Literal["giou", "ciou"] = "giou" if reference is generalized_box_iou_loss else "ciou"
    target = torch.tensor([[0.3, 0.2, 0.6, 0.9], [0.1, 0.1, 0.3, 0.2]])
    boxes = torch.tensor([[0.2, 0.3, 0.5, 0.7], [0.5, 0.5, 0.8, 0.9]], requires_grad=True)
    (mine,) = torch.autograd.grad(box_loss(boxes, target, kind).sum(), boxes)
    (theirs,) = torch.autograd.grad(reference(boxes, target).sum(), boxes)  # type: ignore[operator]
    assert torch.allclose(mine, theirs, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_box_without_a_size_has_finite_gradients(kind: Literal["iou", "giou", "ciou"]) -> None:
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.2, 0.2, 0.4, 0.2]], requires_grad=True)
    loss = box_loss(boxes, torch.tensor([[0.1, 0.1, 0.3, 0.3], [0.2, 0.2, 0.4, 0.6]]), kind)
    (gradient,) = torch.autograd.grad(loss.sum(), boxes)
    assert loss.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_box_beside_its_target_is_drawn_to_it_unless_by_iou(kind: Literal["iou", "giou", "ciou"]) -> None:
    boxes = torch.tensor([[0.1, 0.1, 0.3, 0.4]], requires_grad=True)
    (gradient,) = torch.autograd.grad(box_loss(boxes, torch.tensor([[0.6, 0.6, 0.9, 0.8]]), kind).sum(), boxes)
    assert (gradient[:, 2:] < 0).all() == (kind != "iou")
    assert (kind == "iou") == (gradient == 0).all()


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1), st.floats(0, 100), st.sampled_from(KINDS))
def test_the_loss_is_the_recipes(
    smoothing: float, alpha: float, l1: float, kind: Literal["iou", "giou", "ciou"]
) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(8, 3, generator=generator), torch.arange(8) % 3
    boxes, targets = torch.rand(2, 8, 4, generator=generator)
    recipe = Recipe(label_smoothing=smoothing, alpha=alpha, l1=l1, box_loss=kind)
    sides = functional.l1_loss(boxes, targets)
    expected = (1 - alpha) * functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    expected += alpha * (box_loss(boxes, targets, kind).mean() + l1 * sides)
    assert weighted(recipe, logits, boxes, labels, targets).item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-5)
