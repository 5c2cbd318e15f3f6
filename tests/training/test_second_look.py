"""Two looks trained one after the other: what is validated is what a prediction makes of the same pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from milair import DenseHead, MilairError, Recipe
from milair.boxes import to_pixels
from milair.features.bank import Bank, open_bank
from milair.frames.frame import Split
from milair.model.checkpoint import load, save
from milair.model.detector import Detector
from milair.training.train import new_heads, train
from milair.training.values import Epoch

CPU = torch.device("cpu")
ONE = Recipe(
    backbone="squeezenet1_1",
    weights="random",
    image_size="64x48",
    augmentations=2,
    cls_head=DenseHead(8, 1, 0.2),
    reg_head=DenseHead(8, 1),
    schedule="cosine",
    learning_rate=1e-3,
    epochs=3,
)
TWO = replace(ONE, looks=2, crop_size=48)


@pytest.fixture(scope="module")
def bank(small_split: Split, tmp_path_factory: pytest.TempPathFactory) -> Bank:
    folder, frames = tmp_path_factory.mktemp("banks"), small_split.train + small_split.val
    return open_bank(TWO, small_split, "ab", frames=frames, views=3, source="", folder=folder, device=CPU)


def told(epochs: list[Epoch]) -> list[object]:
    return [(epoch.number, epoch.passes, epoch.train, epoch.val, epoch.best, epoch.outputs) for epoch in epochs]


def test_the_first_look_is_that_of_one_look_and_the_same_seed_gives_the_same_epochs(bank: Bank) -> None:
    epochs = list(train(TWO, bank, CPU))
    assert [epoch.number for epoch in epochs] == [1, 2, 3, 4, 5, 6]
    assert told(epochs[:3]) == told(list(train(ONE, replace(bank, second=None), CPU)))
    assert told(list(train(TWO, bank, CPU))) == told(epochs)
    assert told(list(train(replace(TWO, seed=5), bank, CPU)))[3:] != told(epochs)[3:]


@pytest.mark.parametrize("decides", ["first", "second", "mean"])
def test_the_last_epoch_is_scored_by_all_iterations_as_a_checkpoint_predicts(
    bank: Bank, small_split: Split, tmp_path: Path, decides: Any
) -> None:
    recipe = replace(TWO, decides=decides, iterations=3)
    first, second = looks = new_heads(recipe, bank, CPU)
    *before, last = train(recipe, bank, CPU, looks)
    assert all(epoch.best == epoch.val for epoch in before)
    assert last.best.iou != last.val.iou
    assert bank.extract is not None
    extract = bank.extract
    model = Detector(extract.preprocessing, extract.backbone, first, recipe, bank.classes, second)
    save(tmp_path, model, {})
    predictions = list(load(tmp_path, CPU).predict([frame.path for frame in small_split.val]))
    assert last.outputs is not None
    for prediction, frame, (label, probability, *box) in zip(predictions, small_split.val, last.outputs, strict=True):
        assert prediction.label == bank.classes[int(label)]
        assert prediction.probability == pytest.approx(probability, abs=1e-4)
        assert prediction.box == pytest.approx(to_pixels(tuple(box), frame.width, frame.height), abs=1)  # type: ignore[arg-type]


def test_the_first_look_alone_classifies_where_the_recipe_says_so(bank: Bank) -> None:
    *_, last = train(replace(TWO, decides="first"), bank, CPU)
    *_, third = train(ONE, replace(bank, second=None), CPU)
    assert last.best.accuracy == third.best.accuracy
    assert last.best.cls_loss == pytest.approx(third.best.cls_loss)


def test_a_second_look_without_a_schedule_is_refused(bank: Bank) -> None:
    with pytest.raises(MilairError, match="looks is 2 and schedule is constant; a second look needs a schedule"):
        next(train(replace(TWO, schedule="constant"), bank, CPU))
