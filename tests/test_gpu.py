"""Every path that a GPU takes, on a real one: make test-gpu. Without one they are skipped, with the reason.

MILAIR_GPU=cpu runs the same tests on the CPU, which holds the tests themselves."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import tiny
import torch

from milair import Recipe, load
from milair.frames.frame import Split
from milair.study import kept
from milair.study.results import finished
from milair.training.in_process import Trainer
from milair.training.train import new_heads
from milair.training.values import Epoch, Hopeless, Inputs, Training

DEVICE = os.environ.get("MILAIR_GPU", "cuda:0")
CPU = torch.device("cpu")
RECIPE = Recipe(
    backbone="squeezenet1_1", weights="random", image_size="64x48", augmentations=2, epochs=3, normalisation="imagenet"
)
TWO_LOOKS = replace(RECIPE, looks=2, schedule="cosine", crop_size=64)

pytestmark = pytest.mark.skipif(
    DEVICE.startswith("cuda") and not torch.cuda.is_available(), reason="there is no GPU here"
)


def trainer(split: Split, folder: Path, device: torch.device | None = None) -> Trainer:
    inputs = Inputs(split.train + split.val, ("a", "b"), 3, "nowhere", folder, 1.0)
    return Trainer(inputs, device or torch.device(DEVICE))


def epochs(trainer: Trainer, recipe: Recipe, split: Split) -> list[Epoch]:
    return [news for news in trainer.train(Training(recipe, split)) if isinstance(news, Epoch)]


def search(folder: Path, devices: str, *more: str) -> optuna.Study:
    options = tiny.make(folder)
    options[options.index("--devices") + 1] = devices
    assert tiny.search(options, *more) == 0
    return tiny.load(folder)


@pytest.mark.parametrize("recipe", [RECIPE, TWO_LOOKS])
def test_features_and_first_outputs_are_those_of_a_cpu(recipe: Recipe, small_split: Split, tmp_path: Path) -> None:
    banks = [
        trainer(small_split, tmp_path, device).bank(Training(recipe, small_split))
        for device in (torch.device(DEVICE), CPU)
    ]
    theirs, ours = (bank.train.rows[bank.train.index].cpu() for bank in banks)
    assert torch.allclose(theirs, ours, atol=1e-3)
    shapes = [part.rows.shape[1:] for part in (banks[0].train, banks[0].second and banks[0].second.train) if part]
    looks = (new_heads(recipe, bank, bank.train.rows.device) for bank in banks)
    for one, other, shape in zip(*looks, shapes, strict=True):
        one.load_state_dict(other.state_dict())
        features = torch.rand(4, *shape)
        outputs, expected = one.eval()(features.to(DEVICE)), other.eval()(features)
        assert all(torch.allclose(a.cpu(), b, atol=1e-3) for a, b in zip(outputs, expected, strict=True))


@pytest.mark.parametrize("recipe", [RECIPE, TWO_LOOKS, replace(RECIPE, ema=0.9, optimizer="adamw")])
def test_a_training_repeats_to_the_last_digit(recipe: Recipe, small_split: Split, tmp_path: Path) -> None:
    first, again = (epochs(trainer(small_split, tmp_path), recipe, small_split) for _ in range(2))
    assert len(first) == recipe.all_epochs
    for one, other in zip(first, again, strict=True):
        assert (one.train, one.val, one.outputs) == (other.train, other.val, other.outputs)


def test_memory_is_told_and_too_much_of_it_ends_one_training_only(small_split: Split, tmp_path: Path) -> None:
    device = torch.device(DEVICE)
    small = trainer(small_split, tmp_path)
    last = epochs(small, RECIPE, small_split)[-1]
    assert last.memory[0] > 0
    if device.type != "cuda":
        return
    assert last.memory[1] > 0
    free, _ = torch.cuda.mem_get_info(device)
    held = torch.empty(int(free - 64e6), dtype=torch.uint8, device=device)
    with pytest.raises(Hopeless, match="out of memory"):
        epochs(small, replace(RECIPE, image_size="640x480", batch_size=64), small_split)
    del held
    torch.cuda.empty_cache()
    assert epochs(small, RECIPE, small_split)[-1].val == last.val


@pytest.mark.parametrize("count", [1, 2])
def test_workers_share_a_gpu(count: int, tmp_path: Path) -> None:
    study = search(tmp_path, ",".join([DEVICE] * count), "--trials", "4", "--pruner", "none")
    trials = finished(study)
    assert len(trials) == 4
    names = {kept.scalars(trial)["device"] for trial in trials}
    assert names == {torch.cuda.get_device_name(DEVICE) if DEVICE.startswith("cuda") else DEVICE}


def test_workers_have_a_gpu_each(tmp_path: Path) -> None:
    if DEVICE.startswith("cuda") and torch.cuda.device_count() < 2:
        pytest.skip("there is one GPU here")
    devices = "cuda:0,cuda:1" if DEVICE.startswith("cuda") else "cpu,cpu"
    assert len(finished(search(tmp_path, devices, "--trials", "4"))) == 4


def test_retrain_repeats_and_the_model_predicts_on_a_cpu(tmp_path: Path) -> None:
    from milair.retrain import main as retrain

    study = search(tmp_path, DEVICE, "--trials", "2", "--pruner", "none")
    out: Sequence[str] = ("--out", str(tmp_path / "model"))
    assert retrain(["--study", "tiny", "--studies", str(tmp_path / "studies"), "--devices", DEVICE, *out]) == 0
    card = (tmp_path / "model" / "README.md").read_text()
    assert f"{study.best_value:.4f}" in card
    (prediction,) = load(tmp_path / "model").predict([next((tmp_path / "frames" / "images").iterdir())])
    assert 0 < prediction.probability <= 1
