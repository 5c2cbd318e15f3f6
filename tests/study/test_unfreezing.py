"""retrain --unfreeze: validation says whether the fine-tuned model or the one with the frozen backbone is kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import torch
from tiny import make, search

from milair import objective, retrain
from milair.features.bank import Bank
from milair.frames.frame import Split
from milair.model.checkpoint import load
from milair.model.detector import Detector
from milair.study import retraining
from milair.study.retraining import Retrained, Retraining
from milair.training.values import Metrics


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, int], Retrained]:
    """Trains the one trial of a study again."""
    folder = tmp_path_factory.mktemp("study")
    make(folder)
    places = {"data": folder / "frames", "spaces": folder / "spaces", "bank": folder / "bank"}
    made = objective("tiny", views=2, device="cpu", overrides={"epochs": "1"}, **places)
    plain = optuna.create_study(direction="maximize")
    plain.optimize(made, n_trials=1)
    session = replace(made.session, study=plain)

    def retrained(out: Path, blocks: int) -> Retrained:
        (model,) = Retraining(session, made.trainer, unfreeze=blocks)(plain.trials, out)
        assert isinstance(model, Retrained)
        return model

    return retrained


def scoring(*scores: float) -> Callable[..., Iterator[Metrics]]:
    """A fine-tuning of these scores; after each epoch the first weight is the epoch's number."""

    def finetune(model: Detector, blocks: int, bank: Bank, split: Split) -> Iterator[Metrics]:  # noqa: ARG001
        for number, score in enumerate(scores):
            if number:
                next(model.backbone.parameters()).data[0, 0, 0, 0] = number
            yield Metrics(0.1, 0.1, 0.1, score, score)

    return finetune


def first_weight(folder: Path) -> float:
    model = load(folder, torch.device("cpu"))
    assert isinstance(model, Detector)
    return next(model.backbone.parameters())[0, 0, 0, 0].item()


def test_the_best_epoch_is_kept_if_it_is_better(
    run: Callable[[Path, int], Retrained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retraining, "finetune", scoring(0.5, 0.6, 0.7, 0.65))
    model = run(tmp_path / "model", 3)
    about = json.loads((tmp_path / "model" / "model.json").read_text())
    assert (about["unfrozen"], about["validation"]["score"], about["epoch"]) == (3, 0.7, 1)
    assert first_weight(tmp_path / "model") == 2
    assert model.saved == model.tuned != model.metrics
    assert str(model).endswith("unfrozen: score 0.7000, IoU 0.7000, accuracy 0.7000, loss 0.1000; saved")


@pytest.mark.parametrize("scores", [(0.5, 0.5, 0.4), (0.5, float("nan"), 0.5)])
def test_the_frozen_one_stays_if_none_is_better(
    run: Callable[[Path, int], Retrained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scores: tuple[float, ...]
) -> None:
    run(tmp_path / "frozen", 0)
    monkeypatch.setattr(retraining, "finetune", scoring(*scores))
    model = run(tmp_path / "model", 1)
    for file in ("model.json", "model.safetensors"):
        assert (tmp_path / "model" / file).read_bytes() == (tmp_path / "frozen" / file).read_bytes()
    assert model.saved == model.metrics
    assert str(model).endswith("; no better, so the frozen one is saved")


def test_the_command_shows_both_scores_and_what_it_cannot_do_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(make(tmp_path), "--trials", "1", "--epochs", "1") == 0
    words = ["--study", "tiny", "--studies", str(tmp_path / "studies"), "--devices", "cpu"]
    assert retrain.main([*words, "--unfreeze", "2"]) == 0
    before, after = (line for line in capsys.readouterr().out.splitlines() if line.startswith("seed 32"))
    scores = [float(line.partition("score ")[2][:6]) for line in (before, after)]
    assert after.endswith("; saved") == (scores[1] > scores[0])
    for more, says in (
        (["--unfreeze", "10"], "--unfreeze 10: this backbone has blocks 1 to 9"),
        (["--unfreeze", "1", "--on", "all"], "--unfreeze keeps what validation prefers, and --on all leaves nothing"),
    ):
        assert retrain.main([*words, *more]) in (1, 2)
        said = capsys.readouterr().err
        assert says in said
        assert said.count("\n") == 1
    with pytest.raises(SystemExit, match="2"):
        retrain.main([*words, "--unfreeze", "0"])
