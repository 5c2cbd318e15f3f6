"""The commands as a person runs them: a whole way through, and each mistake with its one line."""

import csv
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from time import perf_counter

import optuna
import pytest
import torch
from faults import resize, small_disk
from optuna.trial import TrialState
from PIL import Image
from tiny import make, search

from milair import predict, retrain
from milair.__main__ import COMMANDS
from milair.__main__ import main as milair
from milair.errors import MilairError
from milair.model import checkpoint
from milair.study import storage
from milair.study.kept import trained


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished study of three trials."""
    folder = tmp_path_factory.mktemp("searched")
    assert search(make(folder), "--trials", "3", "--pruner", "none") == 0
    return folder


def places(folder: Path) -> list[str]:
    return ["--studies", str(folder / "studies"), "--devices", "cpu"]


def test_retraining_gives_the_metrics_again_and_a_model_that_predicts(
    searched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = storage.load_study(storage.open_storage(storage.default_url(searched / "studies")), "tiny")
    for trial in study.trials:
        out = searched / f"model-{trial.number}"
        words = ["--study", "tiny", "--trial", str(trial.number), "--out", str(out), *places(searched)]
        assert retrain.main(words) == 0
        about = json.loads((out / "model.json").read_text())
        for name in ("loss", "cls_loss", "reg_loss", "iou", "accuracy"):
            assert about["validation"][name] == pytest.approx(trial.user_attrs[name], abs=1e-6)
        assert about["recipe"] == trained(trial)
        assert about["epoch"] == trial.user_attrs["epoch"]
    capsys.readouterr()
    words = [
        str(out),
        str(searched / "frames" / "images"),
        "--csv",
        str(searched / "p.csv"),
        "--draw",
        str(searched / "d"),
    ]
    assert predict.main(words) == 0
    assert len(capsys.readouterr().out.splitlines()) == 26
    rows = list(csv.DictReader((searched / "p.csv").read_text().splitlines()))
    assert list(rows[0]) == ["filename", "class", "xmin", "ymin", "xmax", "ymax"]
    assert all(0 <= int(row["xmin"]) < int(row["xmax"]) <= 640 for row in rows)
    assert all(0 <= int(row["ymin"]) < int(row["ymax"]) <= 360 for row in rows)
    drawn = sorted((searched / "d").iterdir())
    assert len(drawn) == 26
    with Image.open(drawn[0]) as picture:
        assert picture.size == (640, 360)


def test_a_model_predicts_what_its_training_measured(searched: Path) -> None:
    """The checkpoint alone gives the validation accuracy and IoU that the bank gave."""
    from milair.frames.read import read
    from milair.frames.split import split
    from milair.training.metrics import iou

    out = searched / "measured"
    retrain.main(["--study", "tiny", "--out", str(out), *places(searched)])
    detector = checkpoint.load(out, torch.device("cpu"))
    val = split(read(searched / "frames").labelled).val
    found = list(detector.predict([frame.path for frame in val]))
    about = json.loads((out / "model.json").read_text())["validation"]
    right = [made.label == frame.label for made, frame in zip(found, val, strict=True)]
    assert sum(right) / len(val) == pytest.approx(about["accuracy"])
    boxes = torch.tensor([made.box for made in found]) / torch.tensor([640, 360, 640, 360])
    overlap = iou(boxes, torch.tensor([frame.box for frame in val])).mean().item()
    assert overlap == pytest.approx(about["iou"], abs=0.02)  # whole pixels


def test_retraining_with_seeds_makes_an_ensemble(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--study", "tiny", "--seeds", "2", "--flip", "--out", str(searched / "two"), *places(searched)]
    assert retrain.main(words) == 0
    out = capsys.readouterr().out
    assert "score over 2 seeds: mean 0." in out
    models = [json.loads((searched / name / "model.json").read_text()) for name in ("two", "two-seed33")]
    assert [model["recipe"]["seed"] for model in models] == [32, 33]  # both are kept
    assert models[0]["validation"] != models[1]["validation"]
    ensemble = json.loads((searched / "two-ensemble" / "model.json").read_text())
    assert [member["recipe"] for member in ensemble["members"]] == [model["recipe"] for model in models]
    scores = re.search(r"ensemble of 2.*: score (.*), IoU.*\((with|without) mirrored pictures (.*)\)", out)
    assert scores is not None
    assert float(scores[1]) >= float(scores[3])
    assert ensemble["flip"] == (scores[2] == "without")
    assert ensemble["validation"]["score"] == pytest.approx(float(scores[1]), abs=1e-4)
    picture, rows = next((searched / "frames" / "images").iterdir()), searched / "rows.csv"
    assert predict.main([str(searched / "two-ensemble"), str(picture), "--csv", str(rows)]) == 0
    assert len(rows.read_text().splitlines()) == 2
    capsys.readouterr()


def test_retraining_the_best_trials(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert retrain.main(["--study", "tiny", "--top", "2", "--out", str(searched / "top"), *places(searched)]) == 0
    members = json.loads((searched / "top-ensemble" / "model.json").read_text())["members"]
    assert members[0]["recipe"] != members[1]["recipe"]
    assert len(list(searched.glob("top-trial*"))) == 1
    assert retrain.main(["--study", "tiny", "--top", "2", "--trial", "0", *places(searched)]) == 2
    assert "--trial 0 is one trial; --top 2 takes the best ones" in capsys.readouterr().err


def test_retraining_on_all_frames(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--study", "tiny", "--on", "all", "--seeds", "2", "--flip", "--out", str(searched / "all")]
    assert retrain.main([*words, *places(searched)]) == 0
    assert "ensemble of 2 with mirrored pictures: trained on all frames" in capsys.readouterr().out
    for name in ("all", "all-seed33", "all-ensemble"):
        about = json.loads((searched / name / "model.json").read_text())
        assert about["trained_on"] == "all"
        assert about["validation"] is None


def test_real_frames_and_real_weights_end_to_end(
    tmp_path: Path, real_data: Path, real_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two epochs of one small view; two of the 141 training frames are one picture."""
    options = ["--study", "heads", "--data", str(real_data), "--weights", str(real_weights), *places(tmp_path)]
    options += ["--bank", str(tmp_path / "bank"), "--set", "image_size=200x128"]
    options += ["--views", "1", "--set", "augmentations=1", "--epochs", "2"]
    assert search(options, "--trials", "1") == 0
    out = capsys.readouterr().out
    assert "328 computed now" in out
    assert "chance baseline: 0.2352" in out
    study = storage.load_study(storage.open_storage(storage.default_url(tmp_path / "studies")), "heads")
    size = [study.trials[0].user_attrs[name] for name in ("parameters", "trained", "size_MB")]
    assert size == [4870602, 4135178, 18.58]


def test_quietly_the_summary_is_all_that_is_said(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--study", "tiny", "--data", str(searched / "frames"), "--spaces", str(searched / "spaces")]
    assert search([*options, *places(searched)], "--trials", "3", "--quiet") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.strip().startswith("tiny@frames: 3 complete")
    assert "next" in out


def test_json_is_all_that_stands_on_stdout(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--study", "tiny", "--data", str(searched / "frames"), "--spaces", str(searched / "spaces")]
    assert search([*options, *places(searched)], "--trials", "3", "--json") == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["trials"] == {"complete": 3}
    assert found["best"][0]["score"] == max(row["score"] for row in found["best"])
    assert 0 < found["chance_baseline"] < 1
    assert "nothing to do" in err


def test_a_dry_run_shows_the_space_and_its_cost_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(make(tmp_path), "--dry-run") == 0
    out = capsys.readouterr().out
    for part in ("cls_head.widths", "4, 8, 16, 8-8", "0.5 to 0.9", "backbone", "parameters", "memory", "s an epoch"):
        assert part in out
    assert not (tmp_path / "studies").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_quick_and_has_an_example(command: str) -> None:
    times = []
    for _ in range(3):
        start = perf_counter()
        shown = subprocess.run([sys.executable, "-m", f"milair.{command}", "--help"], capture_output=True, text=True)
        times.append(perf_counter() - start)
    assert shown.returncode == 0
    assert f"python -m milair.{command} " in shown.stdout.split("example:")[1]
    assert min(times) < 0.5


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.startswith("milair: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("status", "words", "says"),
    [
        (1, ["--study", "nope"], "no such search space"),
        (1, ["--data", "nowhere"], "nowhere: there is no such folder"),
        (1, ["--weights", "nowhere"], "no weights for squeezenet1_1 there"),
        (1, ["--storage", "nosuchdb://x"], "milair keeps studies in SQLite or PostgreSQL"),
        (1, ["--devices", "cuda:99"], "cuda:99 is not available"),
        (1, ["--set", "epochs=0"], "epochs is 0; it must be greater than or equal to 1"),
        (1, ["--set", "backbone=resnet1"], "backbone 'resnet1' is not a torchvision classification model"),
        (2, ["--set", "weight_decay=x"], "weight_decay takes a value of type float"),
        (2, ["--set", "depth=3"], "no field 'depth'"),
        (2, ["--set", "alpha=0.5"], "the space tiny varies alpha"),
        (2, ["--set", "alpha"], "it must be field=value"),
        (2, ["--views", "1"], "an epoch of 2 views cannot be drawn from a bank of 1"),
    ],
)
def test_each_mistake_has_one_line_and_leaves_no_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int, words: list[str], says: str
) -> None:
    assert search(make(tmp_path), "--trials", "1", *words) == status
    assert says in one_line(capsys)
    if (tmp_path / "studies" / "milair.db").exists():
        with pytest.raises(MilairError, match="there are: none"):
            storage.load_study(storage.open_storage(storage.default_url(tmp_path / "studies")), "tiny")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('"alpha", 0.5', '"loss.alpha", 0.5', "'loss.alpha' is no dotted path in a recipe"),
        ('["4", "8", "16", "8-8"]', '["4", "16"]', "a recipe with cls_head.widths='8' is not in the space"),
    ],
)
@pytest.mark.parametrize("more", [["--trials", "1"], ["--dry-run"]])
def test_a_mistake_in_a_space_is_said_before_there_is_a_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, says: str, more: list[str]
) -> None:
    options, file = make(tmp_path), tmp_path / "spaces" / "tiny.py"
    file.write_text(file.read_text().replace(old, new))
    assert search(options, *more) == 1
    assert f"{file}: " in (error := one_line(capsys))
    assert says in error
    database = tmp_path / "studies" / "milair.db"
    assert not database.exists() or not optuna.get_all_study_names(f"sqlite:///{database}")


def test_wrong_use_is_status_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = make(tmp_path)
    for wrong in (["--trials", "-1"], ["--views", "0"], ["--sampler", "magic"], ["--nonsense"]):
        with pytest.raises(SystemExit, match="2"):
            search(options, *wrong)
    assert milair(["nonsense"]) == 2
    assert milair(["--help"]) == 0
    capsys.readouterr()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--study", "nope"], "there is no study 'nope'; there are: tiny@frames"),
        (["--study", "tiny", "--trial", "99"], "has trials 0 to 2"),
        (["--study", "tiny", "--trial", "worst"], "must be 'best' or a number"),
        (["--study", "tiny", "--data", "nowhere"], "no such folder"),
    ],
)
def test_retraining_says_what_is_wrong(
    searched: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    assert retrain.main([*words, *places(searched)]) in (1, 2)
    assert says in one_line(capsys)


def test_retraining_refuses_frames_that_changed(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "frames"
    subprocess.run(["cp", "-r", str(searched / "frames"), str(folder)], check=True)
    lines = (folder / "train.csv").read_text().splitlines()
    (folder / "train.csv").write_text("\n".join([lines[0], lines[1].rsplit(",", 1)[0] + ",359", *lines[2:]]))
    assert retrain.main(["--study", "tiny", "--data", str(folder), *places(searched)]) == 1
    assert "other frames or labels" in one_line(capsys)


def test_retraining_says_that_the_scores_are_those_of_another_milair(
    searched: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("milair.api.TRAINING", 99)
    assert retrain.main(["--study", "tiny", "--out", str(searched / "other"), *places(searched)]) == 0
    assert "now 99): its scores do not repeat" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_broken_checkpoint_is_named(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    out, picture = tmp_path / "model", str(searched / "frames" / "images" / "frame_00000.jpeg")
    assert predict.main([str(out), picture]) == 1
    assert "there is no model there" in one_line(capsys)
    retrain.main(["--study", "tiny", "--out", str(out), *places(searched)])
    capsys.readouterr()
    (out / name).write_bytes((out / name).read_bytes()[:100])
    assert predict.main([str(out), picture]) == 1
    assert "not a whole checkpoint" in one_line(capsys)


def test_a_model_that_has_no_room_is_said_in_one_line(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        words = ["--study", "tiny", "--out", str(disk / "model"), *places(searched)]
        assert retrain.main(words) == 1
        assert one_line(capsys) == f"milair: {disk / 'model'}: No space left on device; the model was not saved\n"
        resize(disk, 32)
        assert retrain.main(words) == 0
        checkpoint.load(disk / "model", torch.device("cpu"))
    capsys.readouterr()


def test_predicting_names_what_is_no_picture(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    retrain.main(["--study", "tiny", "--out", str(out), *places(searched)])
    capsys.readouterr()
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpeg").write_text("no picture")
    for place, says in (("empty", "no pictures"), ("none", "no such picture"), ("text.jpeg", "not a readable picture")):
        assert predict.main([str(out), str(tmp_path / place)]) == 1
        assert says in one_line(capsys)


def test_the_next_commands_work_as_they_stand(searched: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--study", "tiny", "--data", str(searched / "frames"), "--spaces", str(searched / "spaces")]
    search([*options, *places(searched)], "--trials", "3")
    commands = [shlex.split(line) for line in capsys.readouterr().out.split("\nnext\n")[1].splitlines()]
    assert [words[2] for words in commands[:2]] == ["milair.retrain", "milair.predict"]
    for words in commands[:2]:
        subprocess.run(words, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    assert "optuna-dashboard" in commands[2][0]


def test_a_pruned_trial_comes_out_as_it_was_when_it_was_pruned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(make(tmp_path), "--trials", "9", "--set", "epochs=20", "--seed", "3") == 0
    study = storage.load_study(storage.open_storage(storage.default_url(tmp_path / "studies")), "tiny")
    pruned = [trial for trial in study.trials if trial.state == TrialState.PRUNED]
    assert pruned
    assert pruned[0].user_attrs["epochs"] < 20
    capsys.readouterr()
    assert retrain.main(["--study", "tiny", "--trial", str(pruned[0].number), *places(tmp_path)]) == 0
    assert "largest difference from the trial's own metrics: 0.0e+00" in capsys.readouterr().out


def test_drawing_never_overwrites_the_pictures(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "model"
    retrain.main(["--study", "tiny", "--out", str(out), *places(searched)])
    capsys.readouterr()
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("RGB", (80, 60)).save(folder / "a.jpeg")
    before = (folder / "a.jpeg").read_bytes()
    assert predict.main([str(out), str(folder), "--draw", str(folder)]) == 2
    assert "would overwrite" in one_line(capsys)
    assert (folder / "a.jpeg").read_bytes() == before
    Image.new("RGB", (80, 60)).save(folder / "a.png")
    assert predict.main([str(out), str(folder), "--draw", str(tmp_path / "drawn")]) == 2
    assert "two pictures are called a" in one_line(capsys)


def test_retraining_refuses_other_weights(
    searched: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("milair.model.zoo.RANDOM_SEED", 1)
    assert retrain.main(["--study", "tiny", *places(searched)]) == 1
    assert "the weights of squeezenet1_1 are not those of the trial" in one_line(capsys)
