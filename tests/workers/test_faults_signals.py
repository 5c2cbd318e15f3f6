"""Signals to a search with two workers: it ends in time and leaves nothing running, or goes on where it can."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest
from faults import SEED, Place, Search, assert_one_line, assert_whole, gone, until
from tiny import SPACE

from milair.study import storage

LENGTH = ("--devices", "cpu,cpu", "--set", "epochs=100", "--set", "patience=100")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """One study, which goes on from test to test."""
    return Place(tmp_path_factory.mktemp("signals"))


@contextmanager
def running(place: Place) -> Iterator[Search]:
    """A search while both of its workers train."""
    with place.search(*LENGTH, "--trials", "1000") as search:
        assert until(lambda: both_train(place, search) or search.over)
        assert not search.over, search.errors
        yield search


def both_train(place: Place, search: Search) -> bool:
    trials = [trial for trial in place.trials() if trial.state.name == "RUNNING"]
    busy = {trial.user_attrs["worker"]["pid"] for trial in trials}
    return len(busy) == 2 and busy == {worker.pid for worker in search.workers()}


@pytest.mark.parametrize(
    "sent",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGINT, marks=pytest.mark.faults),
        pytest.param(signal.SIGHUP, marks=pytest.mark.faults),
    ],
)
def test_a_signal_ends_a_search_within_five_seconds(place: Place, sent: signal.Signals) -> None:
    if signal.getsignal(sent) == signal.SIG_IGN:
        pytest.skip(f"{sent.name} is ignored here, as under nohup")
    with running(place) as search:
        search.process.send_signal(sent)
        assert search.end(5) == 128 + sent
        assert search.workers() == []
        assert search.errors == "milair: interrupted\n"
        assert "goes on where this one stopped" in search.output
    assert place.states()["RUNNING"] == 0


@pytest.mark.faults
def test_a_signal_ends_a_search_at_any_moment_of_its_start(place: Place) -> None:
    chance = random.Random(SEED)
    print(f"MILAIR_FAULTS_SEED={SEED}")
    for _ in range(12):
        sent = chance.choice([signal.SIGTERM, signal.SIGINT])
        with place.search(*LENGTH, "--trials", "1000") as search:
            time.sleep(chance.uniform(0.5, 10))
            search.process.send_signal(sent)
            assert search.end(5) == 128 + sent
            assert search.workers() == []
            assert search.errors == "milair: interrupted\n"
        assert place.states()["RUNNING"] == 0


def test_a_second_interrupt_does_not_wait_for_a_worker_that_does_not_answer(place: Place) -> None:
    """It would wait for 2.5 s after the first. On a busy machine one of three attempts must show it."""
    for _ in range(3):
        with running(place) as search:
            for worker in search.workers():
                worker.suspend()
            search.process.send_signal(signal.SIGINT)
            time.sleep(0.5)
            assert not search.over
            search.process.send_signal(signal.SIGINT)
            start = time.monotonic()
            assert search.end(20) == 130
            waited = time.monotonic() - start
            assert search.workers() == []
            assert search.errors == "milair: interrupted\n"
        assert place.states()["RUNNING"] == 0
        if waited < 1.5:
            return
    raise AssertionError(f"it waited for {waited:.1f} s")


@pytest.mark.faults
def test_a_worker_that_does_not_answer_holds_nothing_up(place: Place) -> None:
    with running(place) as search:
        search.workers()[0].suspend()
        search.process.send_signal(signal.SIGTERM)
        assert search.end(5) == 143
        assert search.workers() == []
    assert place.states()["RUNNING"] == 0


@pytest.mark.faults
def test_workers_end_with_their_supervisor(place: Place) -> None:
    with running(place) as search:
        search.process.kill()
        assert search.end() == -signal.SIGKILL
        assert search.alone(10)
    assert place.states()["RUNNING"] == 0


@pytest.mark.faults
def test_a_search_goes_on_when_a_worker_is_killed(place: Place) -> None:
    total = len(place.finished()) + 4
    with place.search(*LENGTH, "--trials", str(total)) as search:
        assert until(lambda: both_train(place, search) or search.over)
        first = search.workers()[0]
        first.kill()
        assert search.end() == 0
        assert gone(first)
        assert len(search.seen) >= 2
        assert "worker cpu#1 died (killed by SIGKILL)" in search.output
        assert "another starts (1 of 3)" in search.output
        assert search.errors == ""
    assert_whole(place.trials(), total)


# A process that is killed by the trial that it runs, if that is the one of x = 1.
DEADLY = """
import os, sys
import optuna
from milair.study import queue, storage
optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.load_study(study_name="deadly", storage=storage.open_storage(sys.argv[1]))

def objective(trial):
    x = trial.suggest_int("x", 0, 9)
    if x == 1:
        os.kill(os.getpid(), 9)
    return float(x)

queue.run(study, objective, queue.Draw(goal=3))
"""


def test_a_trial_with_which_three_workers_die_has_failed(tmp_path: Path) -> None:
    url = storage.default_url(tmp_path)
    study = optuna.create_study(study_name="deadly", storage=storage.open_storage(url), direction="maximize")
    for x in (0, 1, 2, 3):
        study.enqueue_trial({"x": x})
    ends = [subprocess.run([sys.executable, "-c", DEADLY, url]).returncode for _ in range(4)]
    assert ends == [-signal.SIGKILL] * 3 + [0]
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert study.trials[1].user_attrs["error"] == "3 workers died with it"


@pytest.mark.faults
def test_a_search_goes_on_without_a_trial_that_kills_its_workers(tmp_path: Path) -> None:
    kill = '    import os\n    if getattr(trial, "number", 0) in (1, *range(4, 99)):\n        os.kill(os.getpid(), 9)\n'
    place = Place(tmp_path, text=SPACE.replace("    return replace", f"{kill}    return replace"))
    with place.search("--trials", "3") as search:
        assert search.end() == 0
        assert search.output.count("died (killed by SIGKILL)") == 3
        assert "fail 1: 3 workers died with it" in search.output
    assert_whole(place.trials(), 3)
    with place.search("--trials", "4") as search:  # all that follow are like that
        assert_one_line(search)
    assert place.states()["RUNNING"] == 0
