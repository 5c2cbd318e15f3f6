"""The queue: exact totals, one worker a trial, and every trial that comes back from a worker that cannot finish it."""

import time
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState
from tiny import load, make, search

from milair.recipe import Recipe
from milair.study import queue, storage
from milair.study.queue import Draw


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return optuna.create_study(direction="maximize", storage=storage.open_storage(storage.default_url(tmp_path)))


def failing(trial: optuna.Trial) -> float:
    trial.set_user_attr("recipe", Recipe().to_json())
    raise ValueError("no luck\nand more")


def test_a_failure_keeps_its_reason(study: optuna.Study) -> None:
    def objective(trial: optuna.Trial) -> float:
        return failing(trial) if trial.number < 2 else float("nan") if trial.number == 2 else 0.5

    assert queue.run(study, objective, Draw(goal=1)) == "goal"
    assert [trial.state.name for trial in study.trials] == ["FAIL"] * 3 + ["COMPLETE"]
    reasons = [trial.user_attrs["error"] for trial in study.trials[:3]]
    assert reasons == ["ValueError: no luck"] * 2 + ["ArithmeticError: its score is not a number"]


def test_an_interrupted_trial_goes_back_to_the_queue_as_it_was(study: optuna.Study) -> None:
    study.enqueue_trial({"x": 3})

    def interrupted(trial: optuna.Trial) -> float:
        trial.suggest_int("x", 0, 9)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        queue.run(study, interrupted, Draw(goal=1))
    assert [(trial.number, trial.state) for trial in study.trials] == [(0, TrialState.WAITING)]
    queue.run(study, lambda trial: float(trial.suggest_int("x", 0, 9)), Draw(goal=1))
    assert [(trial.number, trial.value) for trial in study.trials] == [(0, 3.0)]


def test_a_worker_taken_for_dead_finishes_nothing(study: optuna.Study) -> None:
    """As after a long suspension: another worker has the trial by then, and its result counts."""
    told: list[int] = []

    def objective(trial: optuna.Trial) -> float:
        if trial.number == 0:
            trial.set_user_attr("worker", {"host": "elsewhere", "pid": 1, "started": 0.0})
        return 0.5

    draw = Draw(goal=1, deadline=time.monotonic() + 60)
    queue.run(study, objective, draw, at_most=1, ended=lambda trial: told.append(trial.number))
    assert study.trials[0].state == TrialState.RUNNING
    assert told == []


def test_workers_make_way_for_fresh_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("milair.search._SHARE", 2)
    assert search(make(tmp_path), "--trials", "3", "--epochs", "2") == 0
    workers = [trial.user_attrs["worker"]["pid"] for trial in load(tmp_path).trials]
    assert [len(set(workers[:2])), len(set(workers)), len(workers)] == [1, 2, 3]
