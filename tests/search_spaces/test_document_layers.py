"""The table of layers: the document's two printed ones row by row, and what adds up for any backbone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

import document
import pytest
from printed_layers import Layer, layers

from milair import ConvHead, LinearHead, Recipe
from milair.model import heads
from milair.recipe import Head

LINEAR = Recipe(cls_head=LinearHead("256"), reg_head=LinearHead("768-768-256-256-128"))
CONV = Recipe(cls_head=ConvHead(1, 256), reg_head=ConvHead(4, 256))
ROW = re.compile(r"^(\w+-\d+)[ \t]+\[-1, ([\d, ]+)\][ \t]+([\d,]+)[ \t]*$", re.MULTILINE)

BACKBONE = """
Conv2d-1    [-1, 96, 125, 197] 14,208
ReLU-2      [-1, 96, 125, 197] 0
MaxPool2d-3 [-1, 96, 62, 98]   0
Conv2d-4    [-1, 16, 62, 98]   1,552
Fire-10     [-1, 128, 62, 98]  0
Conv2d-37   [-1, 192, 31, 49]  83,136
Fire-53     [-1, 512, 31, 49]  0
Conv2d-59   [-1, 256, 15, 24]  147,712
ReLU-60     [-1, 256, 15, 24]  0
Fire-61     [-1, 512, 15, 24]  0
AdaptiveAvgPool2d-62 [-1, 512, 7, 7] 0
"""
LINEAR_HEADS = """
Flatten-63          [-1, 25088] 0
Dropout-64          [-1, 25088] 0
FeatureExtractor-65 [-1, 25088] 0
Linear-66           [-1, 256]   6,422,784
BatchNorm1d-67      [-1, 256]   512
ReLU-68             [-1, 256]   0
Linear-69           [-1, 6]     1,542
Linear-70           [-1, 768]   19,268,352
BatchNorm1d-71      [-1, 768]   1,536
ReLU-72             [-1, 768]   0
Linear-73           [-1, 768]   590,592
BatchNorm1d-74      [-1, 768]   1,536
ReLU-75             [-1, 768]   0
Linear-76           [-1, 256]   196,864
BatchNorm1d-77      [-1, 256]   512
ReLU-78             [-1, 256]   0
Linear-79           [-1, 256]   65,792
BatchNorm1d-80      [-1, 256]   512
ReLU-81             [-1, 256]   0
Linear-82           [-1, 128]   32,896
BatchNorm1d-83      [-1, 128]   256
ReLU-84             [-1, 128]   0
Linear-85           [-1, 4]     516
"""
CONV_HEADS = """
FeatureExtractor-63  [-1, 512, 7, 7] 0
Conv2d-64            [-1, 256, 7, 7] 1,179,904
BatchNorm2d-65       [-1, 256, 7, 7] 512
ReLU-66              [-1, 256, 7, 7] 0
Conv2d-67            [-1, 6, 7, 7]   1,542
AdaptiveMaxPool2d-68 [-1, 6, 1, 1]   0
Conv2d-69            [-1, 256, 7, 7] 1,179,904
BatchNorm2d-70       [-1, 256, 7, 7] 512
ReLU-71              [-1, 256, 7, 7] 0
Conv2d-72            [-1, 256, 7, 7] 590,080
BatchNorm2d-73       [-1, 256, 7, 7] 512
ReLU-74              [-1, 256, 7, 7] 0
Conv2d-75            [-1, 256, 7, 7] 590,080
BatchNorm2d-76       [-1, 256, 7, 7] 512
ReLU-77              [-1, 256, 7, 7] 0
Conv2d-78            [-1, 256, 7, 7] 590,080
BatchNorm2d-79       [-1, 256, 7, 7] 512
ReLU-80              [-1, 256, 7, 7] 0
Conv2d-81            [-1, 4, 7, 7]   1,028
AdaptiveMaxPool2d-82 [-1, 4, 1, 1]   0
"""


def printed(text: str) -> list[Layer]:
    """The layers of a table as torchsummary prints it."""
    return [
        Layer(name, tuple(map(int, shape.split(", "))), int(document.number(parameters)))
        for name, shape, parameters in ROW.findall(text)
    ]


def megabytes(recipe: Recipe) -> list[float]:
    return [value for name, value in layers(recipe, 6)[1].items() if "MB" in name]


@pytest.mark.parametrize(
    ("recipe", "trained", "rows", "total"),
    [(LINEAR, LINEAR_HEADS, 85, 27_319_626), (CONV, CONV_HEADS, 82, 4_870_602)],
    ids=["linear", "conv"],
)
def test_the_documents_rows(recipe: Recipe, trained: str, rows: int, total: int) -> None:
    table, sums = layers(recipe, 6)
    expected = printed(BACKBONE)
    assert [layer for layer in table[:62] if layer in expected] == expected
    assert table[62:] == printed(trained)
    assert len(table) == rows
    assert sum(layer.parameters for layer in table) == sums["Total params"] == total
    frozen = sum(layer.parameters for layer in table[:62])
    assert frozen == total - sums["Trainable params"] == sums["Non-trainable params"] == 735_424


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [(LINEAR, [1.17, 185.28, 104.22, 290.66]), (CONV, [1.17, 186.28, 18.58, 206.02])],
    ids=["linear", "conv"],
)
def test_the_documents_megabytes(recipe: Recipe, expected: list[float]) -> None:
    assert megabytes(recipe) == pytest.approx(expected, abs=0.006)


def test_every_row_of_both_tables_is_in_the_text(real_data: Path) -> None:
    found = printed(document.text(real_data))
    assert len(found) == 85 + 82
    assert found == [*layers(LINEAR, 6)[0], *layers(CONV, 6)[0]]


@pytest.mark.parametrize("pooling", ["grid", "global", "own"])
@pytest.mark.parametrize("backbone", ["resnet18", "mobilenet_v2"])
def test_parameters_add_up_for_other_backbones(backbone: str, pooling: Literal["grid", "global", "own"]) -> None:
    recipe = Recipe(backbone=backbone, pooling=pooling, image_size="96x64", cls_head=LinearHead("8"))
    (table, sums), size = layers(recipe, 3), heads.size(recipe, 3)
    assert sum(layer.parameters for layer in table) == sums["Total params"] == size.total
    assert sums["Trainable params"] == size.trainable
    assert all(layer.shape and min(layer.shape) > 0 for layer in table)
    assert [int(layer.name.split("-")[1]) for layer in table] == [*range(1, len(table) + 1)]
    assert sums["Input size (MB)"] == 3 * 96 * 64 * 4 / 1024**2
    assert sums["Params size (MB)"] == size.megabytes
    assert megabytes(recipe)[3] == sum(megabytes(recipe)[:3])


@pytest.mark.parametrize(
    ("cls_head", "reg_head", "flattened"),
    [
        (ConvHead(0), ConvHead(0), False),
        (LinearHead(""), ConvHead(0), True),
        (ConvHead(0), LinearHead(""), True),
        (LinearHead(""), LinearHead(""), True),
    ],
)
def test_heads_without_hidden_layers(cls_head: Head, reg_head: Head, flattened: bool) -> None:
    """The shared Flatten and Dropout are printed once, if a head is linear, and the class head comes first."""
    table, _ = layers(Recipe(cls_head=cls_head, reg_head=reg_head), 3)
    outputs = {LinearHead: ["Linear"], ConvHead: ["Conv2d", "AdaptiveMaxPool2d"]}
    names = [
        *["Flatten", "Dropout"] * flattened,
        "FeatureExtractor",
        *outputs[type(cls_head)],
        *outputs[type(reg_head)],
    ]
    assert [layer.name.split("-")[0] for layer in table[62:]] == names
    sizes = [layer.shape[0] for layer in table[62 + 2 * flattened + 1 :]]
    assert sizes == [3] * len(outputs[type(cls_head)]) + [4] * len(outputs[type(reg_head)])


def test_a_picture_twice_as_wide_and_high_takes_four_times_the_input() -> None:
    small, large = (megabytes(Recipe(image_size=size)) for size in ("200x100", "400x200"))
    assert large[0] == 4 * small[0]
    assert large[1] > small[1]
    assert large[2] == small[2]
