"""Signals to a search with two workers: it ends in time and leaves nothing running, or goes on where it can."""

import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Container, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path

import psutil
import pytest
from faults import SEED, STUDY, Place, Search, assert_one_line, assert_whole, gone, until

from milair.study import lock

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
    both = len(trials) == len(search.workers()) == 2 and all("weights" in trial.user_attrs for trial in trials)
    return both and "\nbank " in search.output  # else they may be those of a search that was killed


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


# A search that is interrupted each time that its database commits, once there is a trial in hand.
COMMITTED = """
import os, signal, sys
from sqlalchemy import Engine, event
from milair.console.command import leave
from milair.search import main
from milair.study.objective import Objective
prepare = Objective.prepare

def prepared(self, trial):
    event.listen(Engine, "commit", lambda _: os.kill(os.getpid(), signal.SIGTERM))
    return prepare(self, trial)

Objective.prepare = prepared
leave(main(sys.argv[1:]))
"""


def test_a_signal_inside_a_transaction_waits_for_its_end(tmp_path: Path) -> None:
    place = Place(tmp_path)
    command = [sys.executable, "-c", COMMITTED, *place.options, *LENGTH, "--trials", "4"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 143
    assert done.stderr == "milair: interrupted\n"
    assert "goes on where this one stopped" in done.stdout
    assert place.states()["WAITING"] == sum(place.states().values()) > 0


@contextmanager
def locked(place: Place) -> Iterator[None]:
    """A block in which another program holds the lock of the database."""
    path = place.url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield


def test_a_database_that_is_locked_holds_no_signal_up(place: Place) -> None:
    with running(place) as search:
        with locked(place):
            time.sleep(1)  # the search has more to write by now
            search.process.send_signal(signal.SIGTERM)
            assert search.end(5) == 143
            assert search.workers() == []
        assert search.errors == "milair: interrupted\n"
        assert "goes on where this one stopped" not in search.output
    with place.search(*LENGTH, "--trials", "0") as search:  # what the database did not let it do, the next start does
        assert search.end() == 0
        assert "back in the queue from a search that died: trial " in search.output
    assert place.states()["RUNNING"] == 0


# A notebook, whose handler of Ctrl-C is Python's own: the search in a cell is interrupted, and the cell runs again.
CELL = """
import os, signal, sys
from pathlib import Path
from milair import api
from milair.study.searching import Search
signal.signal(signal.SIGINT, signal.default_int_handler)
step = Search._step

def interrupted(self, *told):
    Search._step = step
    os.kill(os.getpid(), signal.SIGINT)
    return step(self, *told)

Search._step = interrupted
folder = Path(sys.argv[1])
places = {"data": folder / "frames"} | {name: folder / name for name in ("spaces", "studies", "bank")}
try:
    api.search("tiny", views=2, trials=2, devices="cpu", **places)
except KeyboardInterrupt:
    print("interrupted")
print(api.search("tiny", views=2, trials=2, devices="cpu", **places).end)
"""


def test_an_interrupted_cell_of_a_notebook_runs_again(tmp_path: Path) -> None:
    place = Place(tmp_path)
    done = subprocess.run([sys.executable, "-c", CELL, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "goes on where this one stopped\ninterrupted\n" in done.stdout
    assert "back in the queue from a search that died" not in done.stdout
    assert done.stdout.endswith("\ngoal\n")
    assert_whole(place.trials(), 2)


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


def test_a_second_interrupt_is_harmless(place: Place) -> None:
    """Nobody needs one: a search waits for no worker, not even for those that do not answer."""
    with running(place) as search:
        for worker in search.workers():
            worker.suspend()
        search.process.send_signal(signal.SIGINT)
        with suppress(psutil.NoSuchProcess):
            search.process.send_signal(signal.SIGINT)
        assert search.end(5) == 130
        assert search.workers() == []
        assert search.errors == "milair: interrupted\n"
    with place.search(*LENGTH, "--trials", "0") as search:  # what the second has cut off, the next start does
        assert search.end() == 0
    assert place.states()["RUNNING"] == 0


@pytest.mark.faults
def test_a_worker_that_does_not_answer_holds_nothing_up(place: Place) -> None:
    with running(place) as search:
        search.workers()[0].suspend()
        before = len(place.finished())
        assert until(lambda: len(place.finished()) >= before + 3 or search.over), "the other one goes on"
        search.process.send_signal(signal.SIGTERM)
        assert search.end(5) == 143
        assert search.workers() == []
    assert place.states()["RUNNING"] == 0


def test_workers_end_with_their_search(place: Place) -> None:
    with running(place) as search:
        search.process.kill()
        assert search.end() == -signal.SIGKILL
        assert search.alone(5)
    assert place.states()["RUNNING"] == 2
    with place.search(*LENGTH, "--trials", "0") as search:
        assert search.end() == 0
        assert "back in the queue from a search that died: trial " in search.output
    assert place.states()["RUNNING"] == 0


@pytest.mark.faults
def test_nothing_is_lost_when_a_search_begins_again_at_once(place: Place) -> None:
    """Workers of the killed one may live while those of the next begin."""
    for _ in range(3):
        with running(place) as search:
            search.process.kill()
            assert search.end() == -signal.SIGKILL
            with running(place) as again:
                again.process.send_signal(signal.SIGTERM)
                assert again.end(5) == 143
    assert place.states()["RUNNING"] == 0


def test_another_search_of_the_study_is_refused_with_who_holds_it(place: Place) -> None:
    with running(place) as search:
        before = place.states()["RUNNING"]
        with place.search(*LENGTH, "--trials", "1000") as other:
            assert_one_line(other, f"is being searched by process {search.process.pid} on {socket.gethostname()}")
            assert "--devices" in other.errors
            assert other.workers() == []
        assert place.states()["RUNNING"] == before
        assert lock.is_held(place.study())
        search.process.send_signal(signal.SIGTERM)
        assert search.end(5) == 143
    assert not lock.is_held(place.study())


def test_two_searches_that_begin_a_study_at_once_are_one(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with place.search(*LENGTH, "--trials", "4") as one, place.search(*LENGTH, "--trials", "4") as other:
        first, second = sorted([one, other], key=Search.end)
        assert first.end() == 0, first.errors
        if second.end() != 0:  # else it began when the first had ended
            assert_one_line(second, "is being searched by process")
    assert_whole(place.trials(), 4)


def test_a_search_that_has_lost_its_study_ends_and_the_next_one_finishes_it(place: Place) -> None:
    """As when somebody has deleted its lock's file, and another search has begun."""
    with running(place) as search:
        place.study().set_user_attr(lock.SEARCH, {"id": "another"})
        assert_one_line(search, "is held by another search now")
        assert search.workers() == []
    assert place.states()["RUNNING"] > 0, "it has not told anything since"
    before = place.finished()
    with place.search(*LENGTH, "--trials", str(len(before) + 2)) as search:
        assert search.end() == 0
    assert before.items() <= place.finished().items()
    assert_whole(place.trials(), len(before) + 2)


def test_two_searches_beside_a_deleted_lock_file_are_one_soon(place: Place) -> None:
    with running(place) as search:
        for path in (place.folder / "studies").glob(".milair.db.*.lock"):
            path.unlink()
        with running(place) as other:
            assert_one_line(search, "is held by another search now")
            other.process.send_signal(signal.SIGTERM)
            assert other.end(5) == 143
    assert place.states()["RUNNING"] == 0


def test_what_another_program_runs_is_named_and_left_alone(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with place.search("--trials", "0") as search:
        assert search.end() == 0
    study = place.study()
    study.enqueue_trial({"cls_head.widths": "4", "alpha": 0.7})
    theirs = [study.ask(), study.ask()]
    with place.search("--trials", "2") as search:
        assert search.end() == 0
        assert "left alone, for another program runs it: trial 0, 1\n" in search.output
    assert place.states() == {"RUNNING": 2, "COMPLETE": 2}
    for trial in theirs:
        study.tell(trial, 0.5)


# Another program, with Optuna's own storage: queues trials and writes notes while a search runs.
OTHER = """
import sys, time
import optuna, optuna_dashboard
from optuna.exceptions import StorageInternalError
optuna.logging.set_verbosity(optuna.logging.CRITICAL)
url, name, first = sys.argv[1], sys.argv[2], int(sys.argv[3])
study = optuna.load_study(study_name=name, storage=url)

def insist(do):
    while True:
        try:
            return do()
        except StorageInternalError:  # an SQLite database is locked for those who do not wait
            time.sleep(0.05)

for number in range(first, first + 8):
    insist(lambda: study.enqueue_trial({"cls_head.widths": "4", "alpha": 0.6 + number / 1000}))
    insist(lambda: study.set_user_attr(f"note {number}", number))
    insist(lambda: optuna_dashboard.save_note(study, f"note {number}"))
    time.sleep(0.2)
"""


@pytest.mark.faults
def test_what_other_programs_queue_and_note_during_a_search_is_kept(tmp_path: Path) -> None:
    place, length = Place(tmp_path), ("--devices", "cpu,cpu", "--set", "epochs=20", "--set", "patience=20")
    with place.search(*length, "--trials", "24") as search:
        assert until(lambda: place.states()["RUNNING"] or search.over)
        others = [[sys.executable, "-c", OTHER, place.url, STUDY, str(first)] for first in (0, 200)]
        programs = [subprocess.Popen(command) for command in others]
        assert [program.wait() for program in programs] == [0, 0]
        assert search.end() == 0, search.errors
    waiting = place.states()["WAITING"]
    assert sum(place.states().values()) == 24 + waiting
    with place.search(*length, "--trials", str(24 + waiting)) as search:
        assert search.end() == 0, search.errors
    assert_whole(place.trials(), 24 + waiting)
    queued = [*range(8), *range(200, 208)]
    alphas = [trial.params["alpha"] for trial in place.trials() if "fixed_params" in trial.system_attrs]
    assert all(alphas.count(0.6 + number / 1000) == 1 for number in queued)
    notes = place.study().user_attrs
    assert [notes[f"note {number}"] for number in queued] == queued


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


def kill_who_trains(place: Place, search: Search, numbers: Container[int], times: int) -> None:
    """As a recipe does that its worker does not survive. The search has one worker."""
    killed: set[datetime | None] = set()

    def begun() -> set[datetime | None]:
        """When the trial in hand began; nothing if it is the one whose worker was killed last."""
        running = (trial for trial in place.trials() if trial.state.name == "RUNNING" and trial.number in numbers)
        return {trial.datetime_start for trial in running} - killed

    for _ in range(times):
        assert until(lambda: begun() or search.over)
        killed |= begun()
        for worker in search.workers():
            worker.kill()


@pytest.mark.faults
def test_a_search_goes_on_without_a_trial_that_kills_its_workers(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with place.search("--set", "epochs=200", "--set", "patience=200", "--trials", "3") as search:
        kill_who_trains(place, search, [1], 3)
        assert search.end() == 0
        assert search.output.count("died (killed by SIGKILL)") == 3
        failed = [line.strip() for line in search.output.splitlines() if line.startswith("    1  fail")]
        assert [line.endswith("3 workers died with it") for line in failed] == [True]
    assert_whole(place.trials(), 3)
    with place.search("--set", "epochs=200", "--set", "patience=200", "--trials", "4") as search:  # all are like that
        kill_who_trains(place, search, range(4, 99), 4)
        assert_one_line(search, "times without finishing a trial")
    assert place.states()["RUNNING"] == 0
