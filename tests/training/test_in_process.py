"""A trainer in this process: which recipes share the bank that it holds open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from milair import MilairError, Recipe
from milair.frames.frame import Split
from milair.training.in_process import Trainer
from milair.training.values import Inputs, Training

RECIPE = Recipe(backbone="squeezenet1_1", weights="random", image_size="64x48", augmentations=1)


@pytest.fixture
def trainer(small_split: Split, tmp_path: Path) -> Trainer:
    frames = small_split.train + small_split.val
    return Trainer(Inputs(frames, ("a", "b"), 1, "nowhere", tmp_path, 1.0), torch.device("cpu"))


@pytest.mark.parametrize(
    ("other", "shape"),
    [
        (replace(RECIPE, grid="3x2"), (512, 2, 3)),
        (replace(RECIPE, stages=2), (768, 7, 7)),
        (replace(RECIPE, pooling="global"), (512, 1, 1)),
    ],
)
def test_a_recipe_with_other_features_opens_another_bank_as_large_as_is_said(
    trainer: Trainer, small_split: Split, other: Recipe, shape: tuple[int, ...]
) -> None:
    plain = trainer.bank(Training(RECIPE, small_split))
    assert plain.shape == (512, 7, 7)
    assert trainer.bank(Training(replace(RECIPE, alpha=0.1), small_split)) is plain
    assert trainer.bank(Training(RECIPE, Split(small_split.val, small_split.train))) is not plain
    training = Training(other, small_split)
    opened = trainer.bank(training)
    assert opened.shape == shape
    assert trainer.bank_bytes(training) == 28 * 4 * torch.Size(shape).numel() == round(opened.megabytes * 1e6)


def test_a_second_look_without_a_schedule_is_refused_before_features_are_computed(tmp_path: Path) -> None:
    trainer = Trainer(Inputs((), ("a",), 1, "nowhere", tmp_path / "banks", 1.0), torch.device("cpu"))
    for refused in (trainer.weights, lambda recipe: next(trainer.train(Training(recipe, Split((), ()))))):
        with pytest.raises(MilairError, match="a second look needs a schedule"):
            refused(Recipe(weights="random", looks=2))
    assert not (tmp_path / "banks").exists()
