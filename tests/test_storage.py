"""The database: hardened, and opened by plain Optuna."""

import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from milair import storage
from milair.errors import MilairError


def test_sqlite_has_a_write_ahead_log_and_locks_when_it_begins(tmp_path: Path) -> None:
    opened = storage.open_storage(storage.default_url(tmp_path))
    with opened.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
        other = sqlite3.connect(tmp_path / "milair.db", timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()


DRAW = """
import sys
import optuna
from milair import storage
optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.load_study(study_name="queue", storage=storage.open_storage(sys.argv[1]))
while True:
    trial = study.ask()
    if not trial.user_attrs:
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        break
    study.tell(trial, trial.suggest_int("x", 0, 1000))
"""


def test_two_processes_never_draw_the_same_queued_trial(tmp_path: Path) -> None:
    url = storage.default_url(tmp_path)
    study = optuna.create_study(study_name="queue", storage=storage.open_storage(url))
    for number in range(60):
        study.enqueue_trial({"x": number}, user_attrs={"queued": True})
    workers = [subprocess.Popen([sys.executable, "-c", DRAW, url], stderr=subprocess.PIPE) for _ in range(2)]
    errors = [worker.communicate()[1].decode() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], errors
    done = [trial.params["x"] for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    assert sorted(done) == list(range(60))


def test_processes_that_create_one_fresh_database_do_not_collide(tmp_path: Path) -> None:
    code = "import sys; from milair import storage; storage.open_storage(sys.argv[1])"
    command = [sys.executable, "-c", code, storage.default_url(tmp_path)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]
    errors = [process.communicate()[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, errors


def test_plain_optuna_opens_it(tmp_path: Path) -> None:
    url = storage.default_url(tmp_path)
    optuna.create_study(study_name="heads@frames", storage=storage.open_storage(url)).add_trial(
        optuna.create_trial(value=0.5)
    )
    assert optuna.load_study(study_name="heads@frames", storage=url).best_value == 0.5


def test_a_name_finds_the_only_study_of_its_space(tmp_path: Path) -> None:
    opened = storage.open_storage(storage.default_url(tmp_path))
    for name in ("heads@a", "alpha@a", "alpha@b"):
        optuna.create_study(study_name=name, storage=opened)
    assert storage.load_study(opened, "heads").study_name == "heads@a"
    assert storage.load_study(opened, "alpha@b").study_name == "alpha@b"
    with pytest.raises(MilairError, match="can mean alpha@a or alpha@b"):
        storage.load_study(opened, "alpha")
    with pytest.raises(MilairError, match="there are: alpha@a, alpha@b, heads@a"):
        storage.load_study(opened, "beta")


def test_what_cannot_be_opened_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(MilairError, match="there is no database"):
        storage.open_storage(storage.default_url(tmp_path / "none"), create=False)
    assert not (tmp_path / "none").exists()
    (tmp_path / "milair.db").write_text("this is not a database, whatever its name says" * 100)
    with pytest.raises(MilairError, match="cannot be opened") as caught:
        storage.open_storage(storage.default_url(tmp_path))
    assert "\n" not in str(caught.value)
