"""The storage of the one writer: what waits, what is written together, and what a kill between the two leaves."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from milair.errors import OutsideError
from milair.study import lock, queue, storage, writing
from milair.study.samplers import Sampler

pytest_plugins = ["postgres"]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return storage.default_url(tmp_path)
    return str(request.getfixturevalue("server").database())


@pytest.fixture
def study(url: str) -> optuna.Study:
    return optuna.create_study(study_name="study", direction="maximize", storage=storage.open_storage(url))


def started(study: optuna.Study, number: int = 0) -> optuna.Trial:
    """A trial that runs here, with some of each kind of value."""
    trial = study.ask()
    trial.suggest_float("x", 0, 1)
    trial.report(0.25, 10)
    trial.set_user_attr("arm", f"arm {number}")
    trial.storage.set_trial_system_attr(trial._trial_id, "recipe", {"seed": number})
    return trial


def values(trial: FrozenTrial) -> tuple[Any, ...]:
    """All that is stored of a trial, but for its times."""
    attributes = trial.user_attrs, trial.system_attrs, trial.intermediate_values
    return trial.number, trial.state, trial.values, trial.params, trial.distributions, *attributes


def test_what_is_set_waits_until_it_is_saved(study: optuna.Study) -> None:
    mine = writing.alone(study)
    trials = [started(mine, number) for number in range(3)]
    assert [list(values(trial)[3:]) for trial in study.trials] == [[{}] * 5] * 3
    known = [values(trial) for trial in mine.trials]
    writing.of(mine).save()
    assert [values(trial) for trial in study.trials] == known
    assert not writing.of(mine).waits
    trials[0].set_user_attr("arm", "another")
    trials[0].set_user_attr("arm", "the last")
    assert study.trials[0].user_attrs == {"arm": "arm 0"}
    writing.of(mine).save()
    assert study.trials[0].user_attrs == {"arm": "the last"}


def test_a_trial_has_ended_once_all_that_it_came_to_is_stored(study: optuna.Study) -> None:
    mine = writing.alone(study)
    first, second = started(mine), started(mine, 1)
    mine.tell(second, 0.5)
    assert [values(trial) for trial in study.trials] == [values(trial) for trial in mine.trials]
    assert study.trials[1].value == 0.5
    assert study.trials[0].user_attrs == {"arm": "arm 0"}
    mine.tell(first, state=TrialState.PRUNED)
    assert study.trials[0].value == mine.trials[0].value == 0.25


def test_values_that_are_no_numbers_are_stored_as_optuna_stores_them(study: optuna.Study) -> None:
    mine = writing.alone(study)
    trial = mine.ask()
    for step, value in enumerate((float("inf"), -float("inf"), float("nan"))):
        trial.report(value, step)
    writing.of(mine).save()
    assert str(study.trials[0].intermediate_values) == "{0: inf, 1: -inf, 2: nan}"


def test_trials_of_others_are_seen_when_they_are_read(study: optuna.Study) -> None:
    mine = writing.alone(study)
    trial = started(mine)
    study.enqueue_trial({"x": 0.5})
    theirs = study.ask(), study.ask()
    study.enqueue_trial({"x": 0.75})
    trial.set_user_attr("mine", 1)
    assert len(mine.trials) == 1
    writing.of(mine).refresh()
    assert [one.state.name for one in mine.trials] == ["RUNNING", "RUNNING", "RUNNING", "WAITING"]
    waited = started(mine, 4)
    assert waited.number == 3
    study.tell(theirs[0], 0.5)
    writing.of(mine).refresh()
    assert [one.state.name for one in mine.trials] == ["RUNNING", "COMPLETE", "RUNNING", "RUNNING"]
    assert mine.trials[3].params == {"x": 0.75}
    assert mine.trials[0].user_attrs == {"arm": "arm 0", "mine": 1}
    writing.of(mine).save()
    assert [values(one) for one in mine.trials] == [values(one) for one in study.trials]


def test_a_trial_that_another_program_ended_is_not_written(study: optuna.Study) -> None:
    mine = writing.alone(study)
    trial = started(mine)
    study.tell(trial.number, 0.5)
    with pytest.raises(UpdateFinishedTrialError, match="trial 0 was ended by another program"):
        writing.of(mine).save()
    assert list(values(study.trials[0]))[3:] == [{}] * 5


def test_a_search_that_has_lost_its_study_writes_nothing(study: optuna.Study) -> None:
    with lock.held(study) as hold:
        hold.sign()
        hold.save()
        started(hold.study)
        study.set_user_attr(lock.SEARCH, {"id": "another"})
        with pytest.raises(OutsideError, match="held by another search now"):
            hold.save()
    assert study.trials[0].params == {}


def test_a_parameter_stays_what_it_was(study: optuna.Study) -> None:
    study.ask().suggest_categorical("x", [1, 2])
    with pytest.raises(ValueError, match="dynamic value space"):
        writing.alone(study).ask().suggest_categorical("x", [1, 2, 3])
    with pytest.raises(ValueError, match="different distribution kind"):
        writing.alone(study).ask().suggest_float("x", 0, 1)


def test_the_same_seed_draws_and_prunes_the_same(url: str) -> None:
    """Three trials run side by side, on optuna's own storage and on the writer's."""
    told = []
    for name in ("plain", "alone"):
        study = optuna.create_study(study_name=name, direction="maximize", storage=storage.open_storage(url))
        study.sampler, study.pruner = Sampler("tpe", 0), optuna.pruners.MedianPruner(n_startup_trials=3)
        view = writing.alone(study) if name == "alone" else study
        hands: list[optuna.Trial] = []
        for _ in range(18):
            hands.append(view.ask())
            if hands[-1].suggest_categorical("kind", ["a", "b"]) == "a":
                hands[-1].suggest_float("x", 0, 1)
            hands[-1].suggest_int("y", 1, 9)
            if len(hands) == 3:
                trial = hands.pop(0)
                score = trial.params["y"] + trial.params.get("x", 0)
                for step in range(3):
                    trial.report(score * step, step)
                    if trial.should_prune():
                        view.tell(trial, state=TrialState.PRUNED)
                        break
                else:
                    view.tell(trial, score)
        if view is not study:
            writing.of(view).save()
        told.append([values(trial) for trial in study.trials])
    assert told[0] == told[1]
    assert {state for _, state, *_ in told[0]} == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING}


KILLED = """
import os, signal, sys
import optuna
from sqlalchemy import event
from milair.study import lock, storage, writing
study = storage.load_study(storage.open_storage(sys.argv[1]), "study")
with lock.held(study) as hold:
    hold.sign()
    trials = [hold.study.ask() for _ in range(2)]
    for trial in trials:
        trial.set_user_attr(lock.SEARCH, hold.id)
        trial.suggest_float("x", 0, 1)
    hold.save()
    trials[1].report(0.25, 10)
    hold.study.tell(trials[0], 0.5)
    trials[1].report(0.5, 20)
    trials[1].set_user_attr("note", "lost")
    event.listen(storage.of(study).engine, "commit", lambda _: os.kill(os.getpid(), signal.SIGKILL))
    hold.save()
"""


def test_a_kill_between_what_is_written_and_its_commit_loses_this_only(url: str, study: optuna.Study) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, url], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    ended, running = study.trials
    assert (ended.state, ended.value, running.state) == (TrialState.COMPLETE, 0.5, TrialState.RUNNING)
    assert running.intermediate_values == {10: 0.25}
    assert "note" not in running.user_attrs
    with lock.held(study) as hold:
        assert queue.put_back(hold) == [1]
    assert study.ask().suggest_float("x", 0, 1) == running.params["x"]
    assert values(study.trials[0]) == values(ended)
