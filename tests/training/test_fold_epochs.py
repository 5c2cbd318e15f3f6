"""What the trainings of folds come to together."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

import pytest
from folders import made_up

from milair import Recipe
from milair.frames.frame import Split
from milair.training.folds import Folds
from milair.training.values import Epoch, Metrics

CONSTANT, SCHEDULED = Recipe(), Recipe(schedule="cosine")


def fold(folds: Folds, frames: str, *losses: float) -> None:
    """A fold of these frames whose validation losses, epoch by epoch, are these."""
    epochs = folds.begin(Split((), tuple(made_up(f"{name}.png", "a") for name in frames)))
    for number, loss in enumerate(losses, 1):
        now = Metrics(loss, loss, loss, 1 - loss, 0.5)
        outputs = [[0.0, float(number), *[loss] * 4] for _ in frames]
        epochs.append(Epoch(number, number, now, now, replace(now, iou=0.9), number, outputs, 1.0))


def test_no_fold_chooses_its_own_epoch() -> None:
    folds = Folds(CONSTANT)
    fold(folds, "abcd", 0.5, 0.4, 0.6, 0.7)
    assert folds.number == 2
    fold(folds, "ef", 0.9, 0.8, 0.3)
    assert folds.number == 3  # 0.6 and 0.3, weighed by their frames: 0.5; epoch 2: 0.53; the fourth not all have
    assert folds.metrics.loss == pytest.approx(fmean([0.6, 0.3], [4, 2]))
    assert folds.metrics.iou == pytest.approx(1 - folds.metrics.loss)
    assert {path.stem: row[1] for path, row in folds.outputs.items()} == dict.fromkeys("abcdef", 3.0)
    assert [metrics.loss for metrics in folds.curves["val"]] == pytest.approx([1.9 / 3, 1.6 / 3, 0.5])
    folds.drop()
    assert folds.number == 2


def test_a_schedule_counts_at_its_end_and_by_all_iterations() -> None:
    folds = Folds(SCHEDULED)
    fold(folds, "ab", 0.1, 0.9)
    fold(folds, "cde", 0.1, 0.4)
    assert folds.number == 2
    assert folds.metrics.iou == pytest.approx(0.9)  # `Epoch.best`


def test_one_fold_is_its_training_to_the_last_digit() -> None:
    folds = Folds(CONSTANT)
    fold(folds, "abc", 0.7, 0.1 + 0.2, 0.1 + 0.2)
    assert folds.number == 2  # the first of the lowest
    assert folds.metrics.loss == 0.1 + 0.2
