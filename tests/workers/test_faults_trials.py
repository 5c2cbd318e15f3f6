"""Trouble inside a trial, for real: its reason stands on the trial, and the next trial is as if nothing had been."""

import json
import subprocess
import sys
from pathlib import Path

import optuna
import psutil
import pytest
import torch
from faults import STORM_SPACE, Place, assert_one_line, assert_whole, until
from optuna.trial import FixedTrial
from tiny import SPACE, search
from torchvision.models import get_model

from milair.study import kept, storage

# A worker that may take only so much memory: it runs out of it as it builds one head, and as it trains another.
MEMORY = """
import json, resource, sys
from pathlib import Path
import optuna, psutil, torch
from milair import api
from milair.study import kept, storage

torch.set_num_threads(1)
optuna.logging.set_verbosity(optuna.logging.ERROR)
folder, room = Path(sys.argv[1]), int(sys.argv[2])
study = optuna.create_study(study_name="memory", storage=storage.open_storage(storage.default_url(folder)),
                            direction="maximize", pruner=optuna.pruners.NopPruner())
for widths in ("9999", "3000", "8"):
    study.enqueue_trial({"cls_head.widths": widths, "alpha": 0.7})
places = {"data": folder / "frames", "spaces": folder / "spaces", "bank": folder / "banks"}
objective = api.objective("tiny", views=2, device="cpu", **places)
objective.trainer.bank(objective.session.training(objective.session.space.baseline))
limit = psutil.Process().memory_info().vms + room
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
study.optimize(objective, n_trials=3)
print(json.dumps([[trial.state.name, trial.value, kept.error(trial)] for trial in study.trials]))
"""


def test_a_trial_that_runs_out_of_memory_is_pruned_and_the_next_is_unharmed(tmp_path: Path) -> None:
    place = Place(tmp_path, text=SPACE.replace('"4", ', '"4", "3000", "9999", '))
    command = [sys.executable, "-c", MEMORY, str(tmp_path), str(800 << 20)]  # 3000 want 4 x 301 MB, 9999 4 x 1003 MB
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *hopeless, after = json.loads(done.stdout.splitlines()[-1])
    for state, value, reason in hopeless:
        assert state == "PRUNED"
        assert value is None
        assert reason.startswith("out of memory: ")
    assert after == ["COMPLETE", place.objective()(FixedTrial({"cls_head.widths": "8", "alpha": 0.7})), ""]


def test_a_loss_that_is_not_a_number_prunes_a_trial(tmp_path: Path) -> None:
    # No recipe that is allowed was found to diverge: here are weights that make features without end.
    for name, scale in (("squeezenet1_1", 1e38), ("squeezenet1_0", 1.0)):
        torch.manual_seed(0)
        state = get_model(name).state_dict()
        torch.save({key: value * scale for key, value in state.items()}, tmp_path / f"{name}.pth")
    backbone = 'backbone=trial.suggest_categorical("backbone", ["squeezenet1_1", "squeezenet1_0"]),'
    text = SPACE.replace("cls_head=LinearHead(trial", f"{backbone} cls_head=LinearHead(trial")
    text = text.replace('weights="random"', 'weights="pretrained"')
    place = Place(tmp_path / "place", text=text)
    study = optuna.create_study(direction="maximize", storage=storage.open_storage(place.url))
    for name in ("squeezenet1_1", "squeezenet1_0"):
        study.enqueue_trial({"backbone": name, "cls_head.widths": "8", "alpha": 0.7})
    study.optimize(place.objective(weights=str(tmp_path)), n_trials=2)
    hopeless, after = study.trials
    assert (hopeless.state.name, after.state.name) == ("PRUNED", "COMPLETE")
    assert kept.error(hopeless) == "diverged: its loss is not a number from epoch 1 on"
    assert kept.error(after) == ""


def test_a_trial_that_needs_more_memory_than_there_is_is_not_started(tmp_path: Path) -> None:
    many = "-".join(["9999"] * (psutil.virtual_memory().total // 1_600_000_000 + 1))
    place = Place(tmp_path, text=SPACE.replace('"4", ', f'"4", "{many}", '))
    study = optuna.create_study(direction="maximize", storage=storage.open_storage(place.url))
    study.enqueue_trial({"cls_head.widths": many, "alpha": 0.7})
    study.enqueue_trial({"cls_head.widths": "8", "alpha": 0.7})
    study.optimize(place.objective(), n_trials=2)
    hopeless, after = study.trials
    assert (hopeless.state.name, after.state.name) == ("PRUNED", "COMPLETE")
    assert kept.error(hopeless).startswith("not started: it needs about ")
    assert kept.error(hopeless).endswith(" GB")


@pytest.mark.faults
def test_a_picture_that_vanished_ends_a_search_which_goes_on_once_it_is_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = Place(tmp_path, text=STORM_SPACE)
    options = ("--trials", "4", "--set", "epochs=20", "--set", "patience=20")
    with place.search(*options) as running:
        assert until(lambda: place.states()["RUNNING"] or running.over)
        assert until(lambda: "weights" in place.trials()[0].user_attrs or running.over)  # its bank is open
        picture = sorted((tmp_path / "frames" / "images").iterdir())[0]
        hidden = picture.rename(tmp_path / picture.name)
        assert_one_line(running, str(picture), "No such file or directory")
    met = place.trials()[-1]
    assert met.state.name == "WAITING"
    assert running.errors == f"milair: {met.user_attrs['error']}\n"
    assert search([*place.options, *options]) == 1
    said = capsys.readouterr().err
    assert said.startswith("milair: ")
    assert picture.name in said
    assert said.count("\n") == 1
    hidden.rename(picture)
    assert search([*place.options, *options]) == 0
    assert_whole(place.trials(), 4)
    assert all(not kept.error(trial) for trial in place.trials())


def test_failures_in_a_row_end_a_search_with_their_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fail = '    if hasattr(trial, "number"):\n        raise ValueError("no luck\\nat all")\n    return replace'
    place = Place(tmp_path, text=SPACE.replace("    return replace", fail))
    assert search([*place.options, "--trials", "9"]) == 1
    assert capsys.readouterr().err == "milair: 3 trials failed in a row, the last with: ValueError: no luck\n"
    assert [trial.state.name for trial in place.trials()][:3] == ["FAIL"] * 3
    assert {kept.error(trial) for trial in place.trials()[:3]} == {"ValueError: no luck"}
    assert place.states()["RUNNING"] == 0
