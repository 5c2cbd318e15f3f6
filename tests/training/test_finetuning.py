"""Fine-tuning: what passes through the backbone is what the bank holds, and only what is unfrozen changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from milair import DenseHead, MilairError, Recipe
from milair.features.bank import Bank, open_bank
from milair.features.crops import Crops
from milair.features.views import Views
from milair.frames.frame import Split
from milair.model import backbones
from milair.model.detector import Detector
from milair.model.preprocessing import Preprocessing
from milair.training import finetuning, losses
from milair.training.finetuning import finetune
from milair.training.outputs import evaluate, predicted
from milair.training.train import new_heads
from milair.training.values import Metrics

CPU = torch.device("cpu")
HEAD = DenseHead(8, 1)
ONE = Recipe(
    backbone="squeezenet1_1",
    weights="random",
    image_size="64x48",
    augmentations=2,
    cls_head=HEAD,
    reg_head=HEAD,
    learning_rate=1e-2,
    batch_size=8,
    epochs=2,
)
TWO = replace(ONE, looks=2, crop_size=48, schedule="cosine")


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetuning, "EPOCHS", 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("banks")


def made(recipe: Recipe, split: Split, folder: Path) -> tuple[Detector, Bank]:
    """A model whose heads are new, and its bank."""
    frames = split.train + split.val
    bank = open_bank(recipe, split, "ab", frames=frames, views=2, source="", folder=folder, device=CPU)
    first, *second = new_heads(recipe, bank, CPU)
    preprocessing, backbone = Preprocessing(recipe.size, bank.mean, bank.std), backbones.build(recipe.feature_map)
    return Detector(preprocessing, backbone, first, recipe, bank.classes, *second), bank


def changed(before: dict[str, Tensor], model: Detector) -> set[str]:
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def copied(model: Detector) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize(
    ("backbone", "blocks", "names"),
    [("squeezenet1_1", 2, ("body.0.11.", "body.0.12.")), ("resnet18", 1, ("body.7.1.",))],
)
def test_heads_and_the_last_blocks_change_and_nothing_else(
    small_split: Split, folder: Path, backbone: str, blocks: int, names: tuple[str, ...]
) -> None:
    model, bank = made(replace(ONE, backbone=backbone), small_split, folder)
    before = copied(model)
    first, *_ = finetune(model, blocks, bank, small_split)
    found = changed(before, model)
    parameters = {name for name, _ in model.named_parameters()}
    expected = {name for name in parameters if name.startswith(tuple(f"backbone.{part}" for part in names))}
    assert {name for name in found if name.startswith("backbone.")} == expected  # no BatchNorm's statistics
    assert {name for name in parameters if name.startswith("heads.")} <= found
    assert first.iou == pytest.approx(
        evaluate(made(model.recipe, small_split, folder)[0].heads, bank.val).metrics(bank.val, ONE.alpha).iou, abs=1e-5
    )


def test_both_looks_are_trained_and_the_model_is_as_it_was_validated(small_split: Split, folder: Path) -> None:
    runs: list[list[Metrics]] = []
    for _ in range(2):
        model, bank = made(TWO, small_split, folder)
        before, seen = copied(model), []
        for metrics in finetune(model, 1, bank, small_split):
            outputs = predicted(model, [frame.picture for frame in small_split.val])
            assert outputs.metrics(bank.val, TWO.alpha) == metrics
            seen.append(metrics)
        assert {name.split(".")[0] for name in changed(before, model)} == {"backbone", "heads", "second"}
        runs.append(seen)
    assert runs[0] == runs[1]
    assert len(set(map(repr, runs[0]))) == 3  # before, and two epochs


def test_a_view_that_passes_through_the_backbone_has_the_loss_of_its_row_in_the_bank(
    small_split: Split, folder: Path
) -> None:
    model, bank = made(TWO, small_split, folder)
    model.eval()
    assert bank.second is not None
    assert model.second is not None
    views, pictures = torch.tensor([1, 2, 1, 2, 1]), torch.tensor([0, 3, 3, 9, 5])
    for heads, part, kind in (
        (model.heads, bank.train, Views(model.preprocessing)),
        (model.second, bank.second.train, Crops(TWO.crop_size)),
    ):
        logits, boxes = heads(part.rows[part.index[views, pictures]])
        expected = losses.weighted(TWO, logits, boxes, part.labels[pictures], part.boxes[views, pictures])
        loss = finetuning._Look(heads, part, kind).loss(model, small_split.train, views, pictures)
        assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
        loss.backward()  # type: ignore[no-untyped-call]
        assert all(parameter.grad is None for parameter in model.backbone.parameters())  # frozen as yet


@pytest.mark.parametrize("blocks", [0, 10])
def test_blocks_that_a_backbone_does_not_have(small_split: Split, folder: Path, blocks: int) -> None:
    model, bank = made(ONE, small_split, folder)
    with pytest.raises(MilairError, match=f"--unfreeze {blocks}: this backbone has blocks 1 to 9"):
        next(finetune(model, blocks, bank, small_split))
