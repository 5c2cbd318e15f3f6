"""The card of a model: what it says of each kind of model is what was trained, and a card never costs a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image
from tiny import make, search

from milair import api
from milair.console.progress import Progress
from milair.frames.read import read
from milair.frames.split import splits
from milair.model import checkpoint
from milair.study.retraining import Retrained
from milair.training.outputs import predicted


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("searched")
    assert search(make(folder), "--trials", "2", "--pruner", "none") == 0
    return folder


def card(folder: Path) -> str:
    """A card as one line; its header is YAML that says what it is of."""
    text = (folder / "README.md").read_text()
    header = yaml.safe_load(text.split("---")[1])
    assert header["library_name"] == "milair"
    assert header["pipeline_tag"] == "object-detection"
    assert "license" not in header  # the user's
    assert "None" not in text
    return " ".join(text.split())


def test_one_model_of_a_split(searched: Path) -> None:
    out = searched / "one"
    (model,) = api.retrain("tiny", studies=searched / "studies", devices="cpu", out=out)
    text, about = card(out), json.loads((out / "model.json").read_text())
    assert isinstance(model, Retrained)
    assert model.metrics is not None
    for part in (
        "It is one model, trained on the training frames of a split.",
        "18 training and 6 validation frames",
        "near-duplicate among the training frames",
        f"{model.epoch} epochs of its heads on a frozen backbone",
        f"| score | {model.metrics.score:.4f} |",
        "95% interval of the score",
        "The chance baseline (majority class, mean box) scores 0.",
        "The same frames chose it among 2 trials",
        "Frames without an object are not in the task",
        'load("one").predict',
        f"by a temperature of {about['temperature']:.4g}",
    ):
        assert part in text, part
    assert about["temperature"] == about["calibration"]["temperature"] != 1
    assert about["calibration"]["nll"][0] == pytest.approx(model.metrics.cls_loss, abs=1e-6)
    assert about["calibration"]["nll"][1] < about["calibration"]["nll"][0]
    assert str(searched) not in text
    samples = sorted((out / "samples").iterdir())
    assert [file.name for file in samples] == ["1.jpeg", "2.jpeg", "3.jpeg", "4.jpeg"]
    assert all(f"(samples/{file.name})" in text for file in samples)
    with Image.open(samples[0]) as picture:
        assert picture.size == (640, 360)


def test_its_probabilities_are_calibrated_on_its_own_validation_frames(searched: Path) -> None:
    out = searched / "calibrated"
    api.retrain("tiny", studies=searched / "studies", devices="cpu", out=out)
    model, about = checkpoint.load(out, torch.device("cpu")), json.loads((out / "model.json").read_text())
    (split,) = splits(read(searched / "frames").labelled, "stratified", 32)
    outputs = predicted(model, [frame.picture for frame in split.val]).logits.double()
    truth = torch.tensor([model.classes.index(frame.label) for frame in split.val])
    for values, temperature in zip(about["calibration"]["nll"], (1.0, about["temperature"]), strict=True):
        loss = torch.nn.functional.cross_entropy(outputs / temperature, truth).item()
        assert loss == pytest.approx(values, abs=1e-4)
    sure = [prediction.probability for prediction in model.predict([frame.path for frame in split.val])]
    assert sure == pytest.approx((outputs / about["temperature"]).softmax(1).max(1).values.tolist(), abs=1e-5)


def test_an_ensemble_of_seeds_and_one_model_of_all_frames(searched: Path) -> None:
    out = searched / "two"
    api.retrain("tiny", studies=searched / "studies", devices="cpu", out=out, seeds=2)
    ensemble = card(searched / "two-ensemble")
    assert "It is an ensemble of 2 models, each trained on the training frames of a split." in ensemble
    assert "| seeds | 32, 33 |" in ensemble
    assert "95% interval of the score" in ensemble
    # In the same folder, whose pictures and scores are no longer true.
    api.retrain("tiny", studies=searched / "studies", devices="cpu", out=out, on="all")
    text = card(out)
    assert "It is one model, trained on all labelled frames." in text
    assert "Not known: no frames were left to validate on" in text
    assert "Not calibrated" in text
    assert not list((out / "samples").iterdir())
    assert json.loads((out / "model.json").read_text())["temperature"] == 1


def test_folds_together_and_one_model_of_all_frames_with_a_score_to_expect(tmp_path: Path) -> None:
    options = [*make(tmp_path), "--split", "folds:3", "--set", "normalisation=frames"]
    assert search(options, "--trials", "1", "--epochs", "2", "--pruner", "none") == 0
    out = tmp_path / "model"
    *folds, whole = api.retrain("tiny", studies=tmp_path / "studies", devices="cpu", out=out)
    assert "one model, trained on the training frames of one of 3 folds" in card(folds[0].folder)
    text, about = card(out), json.loads((out / "model.json").read_text())
    assert (
        "an ensemble of 3 models, each trained on the training frames of one of 3 folds; its score is of each" in text
    )
    assert "each of 3 folds was held back once" in text
    assert whole.metrics is not None
    assert f"| score | {whole.metrics.score:.4f} |" in text
    assert about["calibration"]["frames"] == 24
    assert about["calibration"]["nll"][0] == pytest.approx(whole.metrics.cls_loss, abs=1e-6)
    alone = tmp_path / "alone"
    api.retrain("tiny", studies=tmp_path / "studies", devices="cpu", out=alone, on="all")
    assert f"score **{whole.metrics.score:.4f}** out of fold: that is to be expected of it" in card(alone)


def test_a_card_that_cannot_be_written_costs_no_model(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = searched / "nocard"
    (out / "README.md").mkdir(parents=True)
    api.retrain("tiny", studies=searched / "studies", devices="cpu", out=out, console=Progress())
    said = capsys.readouterr().out
    assert f"its card was not written: {out / 'README.md'}: Is a directory\nsaved in {out}\n" in said
    checkpoint.load(out, torch.device("cpu"))
