"""A study made by the milair before the house was rebuilt (golden/first-wave.db: six trials of the tiny space)."""

import shutil
import sqlite3
from pathlib import Path

import pytest
from optuna.trial import TrialState
from tiny import load, make, search

from milair import report, retrain, studies
from milair.study.session import LABELS

GOLDEN = Path(__file__).parent.parent / "golden" / "first-wave.db"


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    """Options of a search that goes on with it; its frames lie elsewhere now."""
    options = make(tmp_path)
    (tmp_path / "studies").mkdir()
    shutil.copyfile(GOLDEN, tmp_path / "studies" / "milair.db")
    return options


def test_it_is_shown_gone_on_with_retrained_and_reported(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    places = ["--studies", str(tmp_path / "studies")]
    assert studies.main(["show", "tiny", *places]) == 0
    assert "tiny@frames: 5 complete, 1 pruned" in capsys.readouterr().out
    before = [(trial.params, trial.state, trial.value, trial.user_attrs) for trial in load(tmp_path).trials]
    assert search(options, "--trials", "7") == 0
    study = load(tmp_path)
    assert [(trial.params, trial.state, trial.value, trial.user_attrs) for trial in study.trials[:6]] == before
    assert len(study.trials) == 7
    assert len(study._storage.get_study_system_attrs(study._study_id)[LABELS]) == 24
    capsys.readouterr()
    for number in (1, 5):  # a complete and a pruned one; another processor's last digits may differ
        assert retrain.main(["--study", "tiny", "--trial", str(number), "--devices", "cpu", *places]) == 0
        difference = float(capsys.readouterr().out.split("trial's own metrics: ")[1])
        assert difference < 0.01
    assert report.main(["--study", "tiny", "--spaces", str(tmp_path / "spaces"), *places]) == 0
    assert "report.html" in capsys.readouterr().out


def test_a_trial_that_its_worker_left_behind_runs_again(tmp_path: Path, options: list[str]) -> None:
    database = sqlite3.connect(tmp_path / "studies" / "milair.db")
    database.execute("UPDATE trials SET state = 'RUNNING', datetime_complete = NULL WHERE number = 5")
    database.commit()
    database.close()
    assert search(options, "--trials", "6") == 0
    assert [trial.state for trial in load(tmp_path).trials[:5]] == [TrialState.COMPLETE] * 5
    assert len(load(tmp_path).trials) == 6
    assert load(tmp_path).trials[5].state in (TrialState.COMPLETE, TrialState.PRUNED)
