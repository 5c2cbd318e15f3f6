"""Metrics against torchvision and against their closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from folders import made_up
from hypothesis import given
from hypothesis import strategies as st
from strategies import share_boxes
from torchvision.ops import box_iou

from milair import Recipe
from milair.frames.frame import Frame, Split
from milair.training.chance import chance_baseline
from milair.training.losses import weighted
from milair.training.metrics import iou, mean, per_image
from milair.training.values import Metrics

inverted = st.tuples(*[st.floats(0, 1, width=32)] * 4).filter(lambda box: box[0] >= box[2] or box[1] >= box[3])


@given(st.lists(st.tuples(share_boxes(0.1), share_boxes(0.1)), min_size=1, max_size=20))
def test_iou_is_torchvisions(pairs: list[tuple[tuple[float, ...], tuple[float, ...]]]) -> None:
    predicted, target = torch.tensor(pairs).unbind(1)
    overlap = iou(predicted, target)
    assert torch.allclose(overlap, box_iou(predicted, target).diagonal(), atol=1e-4)
    assert torch.equal(overlap, iou(target, predicted))
    assert ((overlap >= 0) & (overlap <= 1)).all()


def test_iou_by_hand() -> None:
    unit = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    for box, expected in (
        ([0.0, 0.0, 1.0, 1.0], 1),
        ([0.5, 0.0, 1.0, 1.0], 0.5),
        ([0.5, 0.5, 1.5, 1.5], 0.25 / 1.75),
        ([1.0, 0.0, 2.0, 1.0], 0),
        ([2.0, 2.0, 3.0, 3.0], 0),
    ):
        assert iou(torch.tensor([box]), unit).item() == pytest.approx(expected, abs=2e-6)


@given(inverted, share_boxes())
def test_corners_in_the_wrong_order_have_no_area_and_finite_gradients(
    box: tuple[float, ...], target: tuple[float, ...]
) -> None:
    predicted = torch.tensor([box], requires_grad=True)
    overlap = iou(predicted, torch.tensor([target]))
    assert overlap.item() == 0
    torch.autograd.backward(1 - overlap.sum())
    assert predicted.grad is not None
    assert predicted.grad.isfinite().all()


def test_gradients_draw_a_box_to_its_target() -> None:
    box = torch.tensor([[0.2, 0.2, 0.5, 0.5]], requires_grad=True)
    target = torch.tensor([[0.3, 0.3, 0.7, 0.7]])
    for _ in range(200):
        (gradient,) = torch.autograd.grad(1 - iou(box, target).mean(), box)
        box = (box - 0.005 * gradient).detach().requires_grad_()
    assert iou(box, target).item() > 0.95


def test_per_image_and_loss_against_their_closed_form() -> None:
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 3.0]])
    labels = torch.tensor([0, 1])
    boxes = torch.tensor([[0.0, 0.0, 0.5, 1.0], [0.0, 0.0, 1.0, 1.0]])
    targets = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    entropies = [math.log(math.e**2 + 2) - 2, math.log(1 + math.e + math.e**3) - 1]
    rows = per_image(logits, boxes, labels, targets)
    assert rows.flatten().tolist() == pytest.approx([entropies[0], 0.5, 1, entropies[1], 1, 0], abs=3e-6)
    for alpha in (0.0, 0.3, 1.0):
        expected = (1 - alpha) * sum(entropies) / 2 + alpha * 0.25
        assert weighted(Recipe(alpha=alpha), logits, boxes, labels, targets).item() == pytest.approx(expected, abs=3e-6)


@given(st.integers(1, 40), st.floats(0, 1))
def test_the_mean_over_images_is_the_loss(count: int, alpha: float) -> None:
    generator = torch.Generator().manual_seed(count)
    logits, labels = torch.randn(count, 3, generator=generator), torch.arange(count) % 3
    boxes, targets = torch.rand(2, count, 4, generator=generator)
    rows = per_image(logits, boxes, labels, targets)
    metrics = mean(rows, alpha)
    loss = weighted(Recipe(alpha=alpha), logits, boxes, labels, targets).item()
    assert metrics.loss == pytest.approx(loss, abs=1e-5)
    assert metrics.loss == pytest.approx((1 - alpha) * metrics.cls_loss + alpha * metrics.reg_loss)
    assert metrics.reg_loss == 1 - metrics.iou
    assert metrics.accuracy * count == pytest.approx(rows[:, 2].sum().item())


def test_the_documents_score() -> None:
    metrics = Metrics(loss=0.3, cls_loss=0.4, reg_loss=0.2469370, iou=0.7530630, accuracy=0.890625)
    assert metrics.score == pytest.approx(0.8218, abs=5e-5)
    assert metrics.to_json() == {
        "loss": 0.3,
        "cls_loss": 0.4,
        "reg_loss": 0.2469370,
        "iou": 0.7530630,
        "accuracy": 0.890625,
    }


def test_the_chance_baseline_by_hand() -> None:
    def frame(label: str, xmin: float, xmax: float) -> Frame:
        return made_up("a.png", label, (xmin, 0.0, xmax, 1.0))

    train = (frame("a", 0.0, 0.4), frame("a", 0.2, 0.6), frame("b", 0.1, 0.5))  # the mean box: 0.1 to 0.5
    val = (frame("a", 0.1, 0.5), frame("b", 0.3, 0.5), frame("b", 0.6, 0.9), frame("b", 0.1, 0.9))
    assert chance_baseline([Split(train, val)]) == pytest.approx(((1 + 0.5 + 0 + 0.5) / 4 + 1 / 4) / 2, abs=1e-5)
