"""Heads: the document's parameters to the last one, and a max-pool that is a max-pool."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from milair import ConvHead, DenseHead, LinearHead, Recipe
from milair.model.heads import Attention, BoxesOfCells, Heads, MaxOverMap, Size, document, size, training_bytes
from milair.recipe import Head

SHAPE = 6, 3, 4  # channels, rows, columns
documents_heads = st.lists(st.integers(1, 9), max_size=3).map(
    lambda sizes: LinearHead("-".join(map(str, sizes)))
) | st.builds(ConvHead, blocks=st.integers(0, 3), filters=st.integers(1, 9))


@pytest.mark.parametrize(
    ("cls_head", "reg_head", "total"),
    [
        (LinearHead("256"), LinearHead("768-768-256-256-128"), 27_319_626),
        (LinearHead("256"), ConvHead(1, 256), 8_341_706),
        (LinearHead("256"), ConvHead(3, 256), 9_522_890),
        (LinearHead("256"), ConvHead(4, 256), 10_113_482),
        (LinearHead("256"), ConvHead(5, 256), 10_704_074),
        (ConvHead(1, 256), ConvHead(4, 256), 4_870_602),
        (ConvHead(2, 256), ConvHead(4, 256), 5_461_194),
        (ConvHead(3, 256), ConvHead(4, 256), 6_051_786),
        (ConvHead(1, 768), ConvHead(4, 256), 7_234_506),
    ],
)
def test_the_documents_parameters_to_the_last_one(cls_head: Head, reg_head: Head, total: int) -> None:
    counted = size(Recipe(cls_head=cls_head, reg_head=reg_head), 6)
    assert counted == Size(total=total, trainable=total - 735_424)


def test_megabytes_are_four_bytes_a_parameter() -> None:
    assert Size(total=1024**2, trainable=0).megabytes == 4.0


@given(documents_heads, documents_heads, st.integers(2, 7))
def test_any_head_gives_logits_and_boxes_in_shares(cls_head: Head, reg_head: Head, classes: int) -> None:
    heads = Heads(Recipe(cls_head=cls_head, reg_head=reg_head), SHAPE, classes)
    logits, boxes = heads(torch.randn(3, *SHAPE))
    assert logits.shape == (3, classes)
    assert boxes.shape == (3, 4)
    assert ((boxes > 0) & (boxes < 1)).all()
    torch.autograd.backward(logits.sum() + boxes.sum())
    assert all(parameter.grad is not None for parameter in heads.parameters())


@pytest.mark.parametrize(
    "head", [DenseHead(4, 0), DenseHead(4, 1, 0.5), DenseHead(4, 2, cells=2), DenseHead(1, 0, cells=1)]
)
def test_a_dense_head_reads_any_map(head: DenseHead) -> None:
    heads = Heads(Recipe(cls_head=head, reg_head=head), SHAPE, 5)
    logits, boxes = heads(torch.randn(3, *SHAPE))
    assert (logits.shape, boxes.shape) == ((3, 5), (3, 4))
    assert (boxes[:, :2] < boxes[:, 2:]).all()
    torch.autograd.backward(logits.sum() + boxes.prod(1).sum())
    assert all(parameter.grad is not None for parameter in heads.parameters())


def test_boxes_of_cells_against_a_slow_loop() -> None:
    cells = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for picture, box in zip(cells, BoxesOfCells()(cells), strict=True):
        total, mean = 0.0, [0.0] * 4
        for row in range(3):
            for column in range(4):
                left, top, right, bottom = (1 / (1 + math.exp(-float(value))) for value in picture[:4, row, column])
                x, y, weight = (column + 0.5) / 4, (row + 0.5) / 3, math.exp(float(picture[4, row, column]))
                sides = (x - left, y - top, x + right, y + bottom)
                mean = [so_far + weight * side for so_far, side in zip(mean, sides, strict=True)]
                total += weight
        assert box.tolist() == pytest.approx([value / total for value in mean])


def test_attention_is_the_mean_where_all_weights_are_equal_and_one_cell_where_one_outweighs() -> None:
    cells = torch.randn(2, 4, 3, 3)
    cells[:, 3] = 7
    assert torch.allclose(Attention()(cells), cells[:, :3].mean((2, 3)), atol=1e-6)
    cells[:, 3, 1, 2] = 1000
    assert torch.equal(Attention()(cells), cells[:, :3, 1, 2])


@settings(max_examples=20)
@given(documents_heads, st.integers(1, 7))
def test_parameters_against_their_closed_form(head: LinearHead | ConvHead, outputs: int) -> None:
    channels, rows, columns = SHAPE
    count = sum(parameter.numel() for parameter in document(head, SHAPE, outputs).parameters())
    if isinstance(head, ConvHead):
        widths = [channels, *[head.filters] * head.blocks]
        hidden = sum(9 * a * b + 3 * b for a, b in pairwise(widths))
    else:
        widths = [channels * rows * columns, *head.sizes]
        hidden = sum(a * b + 3 * b for a, b in pairwise(widths))
    assert count == hidden + (widths[-1] + 1) * outputs


def test_layers_come_in_the_documents_order() -> None:
    linear = [type(layer) for layer in document(LinearHead("8-4"), SHAPE, 6)]
    block = [nn.Linear, nn.BatchNorm1d, nn.ReLU]
    assert linear == [nn.Flatten, nn.Dropout, *block, *block, nn.Linear]
    conv = [type(layer) for layer in document(ConvHead(2, 8), SHAPE, 6)]
    block = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert conv == [*block, *block, nn.Conv2d, MaxOverMap]
    assert [type(layer) for layer in document(ConvHead(0), SHAPE, 6)] == [nn.Conv2d, MaxOverMap]
    assert [type(layer) for layer in document(LinearHead(""), SHAPE, 6)] == [nn.Flatten, nn.Dropout, nn.Linear]


@pytest.mark.parametrize("reg_head", [LinearHead(""), LinearHead("64-32"), ConvHead(0), ConvHead(1, 16)])
def test_the_first_boxes_are_the_right_way_round_and_about_the_centre(reg_head: Head) -> None:
    """Whose corners begin in one point are learned with their corners swapped for some pictures, and found worse."""
    torch.manual_seed(0)
    heads = Heads(Recipe(reg_head=reg_head), SHAPE, 2)
    corners = heads.reg_head(torch.rand(64, *SHAPE)).sigmoid()
    assert (corners[:, :2] < corners[:, 2:]).float().mean() > 0.99
    assert (heads.eval()(torch.rand(1, *SHAPE))[1] - torch.tensor([0.27, 0.27, 0.73, 0.73])).abs().max() < 0.2


def test_a_head_of_zero_blocks_is_a_projection_and_a_max() -> None:
    head = document(ConvHead(0), SHAPE, 4)
    features = torch.randn(2, *SHAPE)
    projection = head[0]
    assert isinstance(projection, nn.Conv2d)
    assert projection.bias is not None
    mapped = torch.einsum("nchw,oc->nohw", features, projection.weight[:, :, 0, 0]) + projection.bias[:, None, None]
    assert torch.allclose(head(features), mapped.amax((2, 3)), atol=1e-5)


def test_max_over_map_is_adaptive_max_pool_forwards_and_backwards() -> None:
    first = torch.randn(3, 5, 7, 7, requires_grad=True)
    second = first.detach().clone().requires_grad_()
    weights = torch.randn(3, 5)
    pooled = MaxOverMap()(first)
    reference = nn.AdaptiveMaxPool2d(1)(second).flatten(1)
    assert torch.equal(pooled, reference)
    torch.autograd.backward((pooled * weights).sum())
    torch.autograd.backward((reference * weights).sum())
    assert first.grad is not None
    assert second.grad is not None
    assert torch.equal(first.grad, second.grad)


def test_memory_to_train_is_near_what_tensors_take() -> None:
    """Weights, gradients and two moments of 4 bytes, and a batch's activations."""
    wide = Recipe(cls_head=LinearHead("4096"), reg_head=LinearHead("4096"), image_size="64x48", batch_size=2)
    weights = size(wide, 6).trainable
    assert 16 * weights < training_bytes(wide, 6) < 16.1 * weights
    deep = Recipe(cls_head=ConvHead(4, 256), reg_head=ConvHead(4, 256), image_size="64x48", batch_size=512)
    maps = 2 * 4 * 3 * 512 * 256 * 7 * 7  # two heads, four blocks of three layers
    assert 2 * 4 * maps < training_bytes(deep, 6) - 16 * size(deep, 6).trainable < 3 * 4 * maps
