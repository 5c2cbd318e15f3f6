"""What a study is worth after kills: nothing lost, nothing changed, nothing twice, the total exact."""

import random
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import tiny
from faults import SEED, STORM_SPACE, Place, Storm, assert_whole, files, rush, until

from milair.recipe import LinearHead
from milair.study.kept import curves, outputs, trained
from milair.training.values import Ended, Training
from milair.workers import local


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_ten_times_four_workers_train_each_of_300_queued_trials_once(tmp_path: Path) -> None:
    seconds = [rush(Place(tmp_path / str(number)), trials=300) for number in range(10)]
    print(f"300 trials in 4 workers took {min(seconds):.1f} to {max(seconds):.1f} s")


SPLITS = ("stratified", "folds:3")


def assert_survives(storm: Storm) -> None:
    trials = storm.run()
    assert_whole(trials, storm.total)
    assert storm.spoilt_banks() == []
    database = sqlite3.connect(storm.place.folder / "studies" / "milair.db")
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()


def test_a_study_survives_a_few_kills(tmp_path: Path) -> None:
    fewer_banks = STORM_SPACE.replace(', "160x112", "192x128", "224x144"', "")
    assert_survives(Storm(Place(tmp_path, text=fewer_banks), kills=3, longest=3, total=4, epochs=30))


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("split", SPLITS)
def test_a_study_survives_sixty_kills(tmp_path: Path, split: str) -> None:
    storm = Storm(Place(tmp_path, text=STORM_SPACE, split=split), kills=60)
    assert_survives(storm)
    assert storm.hits["during a trial"] >= 20
    assert storm.hits["during a bank"] >= 1


def told(place: Place) -> list[object]:
    """What a study found, but for how long it took and who ran it."""
    names = ("iou", "accuracy", "epoch", "epochs")
    return [
        [trial.number, trial.params, trial.state, trial.value, trial.intermediate_values]
        + [trial.user_attrs[name] for name in names]
        + [trained(trial), curves(trial), outputs(trial)]
        for trial in place.trials()
    ]


@pytest.mark.parametrize("split", SPLITS)
def test_a_seed_gives_the_same_study_even_when_it_is_killed_on_its_way(tmp_path: Path, split: str) -> None:
    """By folds also in the middle of one."""
    fixed = ("--trials", "5", "--seed", "5", "--set", "epochs=20", "--set", "patience=20")
    peaceful, killed = (Place(tmp_path / name, split=split) for name in ("peaceful", "killed"))
    assert tiny.search([*peaceful.options, *fixed]) == 0

    def runs(number: int) -> bool:
        """Whether that trial, or a later one, is running."""
        return killed.states()["RUNNING"] > 0 and len(killed.trials()) > number

    with killed.search(*fixed) as search:
        assert until(lambda: runs(1) or search.over)
        search.workers()[0].kill()
        assert until(lambda: runs(3) or search.over)
        search.workers()
        search.process.kill()
        assert search.end() == -9
        assert search.alone(5), "a worker outlives its search"
        assert "worker cpu died (killed by SIGKILL)" in search.output
        assert "another starts (1 of 3)" in search.output
        assert search.errors == ""
    assert 1 <= len(killed.finished()) < 5
    assert killed.states()["RUNNING"] == 1  # which the next start puts back
    assert tiny.search([*killed.options, *fixed]) == 0
    assert_whole(killed.trials(), 5)
    assert told(killed) == told(peaceful)
    assert files(killed.banks) == files(peaceful.banks)


# A study in peace, and one whose search is killed at the very moment in which it is to learn that a trial loses.
JUDGED = """
import os, sys
import optuna
from milair.search import main
from milair.study import pruners, storage

class Pruner(optuna.pruners.MedianPruner):
    deadly = False

    def prune(self, study, trial):
        loses = super().prune(study, trial)
        if loses and self.deadly:
            os.kill(os.getpid(), 9)
        return loses

def run(name, *more, deadly=False):
    "The exit status of a search in a process of its own."
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    pruners.pruner = lambda *_: Pruner(n_startup_trials=1, n_warmup_steps=10)
    Pruner.deadly = deadly
    os._exit(main([*options, "--name", name, *more]))

url, *options = sys.argv[1:]
for name in ("peaceful", "killed"):
    assert run(name, "--trials", "0") == 0
    study = optuna.load_study(study_name=name, storage=storage.open_storage(url))
    for widths, alpha in (("16", 0.9), ("4", 0.5), ("4", 0.6), ("4", 0.7)):
        study.enqueue_trial({"cls_head.widths": widths, "alpha": alpha})
    if name == "killed":
        assert run(name, "--trials", "5", deadly=True) == 9
    assert run(name, "--trials", "5") == 0
    print("told", [(trial.state.name, trial.value, trial.intermediate_values) for trial in study.trials], flush=True)
"""


@pytest.mark.faults
def test_a_trial_whose_search_dies_as_it_is_judged_is_judged_again(tmp_path: Path) -> None:
    place = Place(tmp_path)
    length = ("--set", "epochs=15", "--set", "patience=15")
    done = subprocess.run(
        [sys.executable, "-c", JUDGED, place.url, *place.options, *length], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    peaceful, killed = (line for line in done.stdout.splitlines() if line.startswith("told"))
    assert "PRUNED" in peaceful
    assert killed == peaceful


# Processes that are killed while they create a database; whoever comes next creates it, or finds it.
CREATED = """
import os, random, sys, time
from pathlib import Path
import optuna
from milair.study import storage

chance = random.Random(int(sys.argv[2]))
optuna.logging.set_verbosity(optuna.logging.ERROR)
for number in range(int(sys.argv[3])):
    url = storage.default_url(Path(sys.argv[1], str(number)))
    child = os.fork()
    if not child:
        storage.open_storage(url)
        time.sleep(60)
    time.sleep(chance.uniform(0, 0.2))
    os.kill(child, 9)
    os.waitpid(child, 0)
    child = os.fork()
    if not child:
        optuna.create_study(storage=storage.open_storage(url)).ask()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0, number
"""


@pytest.mark.parametrize("times", [10, pytest.param(100, marks=pytest.mark.faults)])
def test_a_database_that_was_killed_while_it_was_being_created_is_created(tmp_path: Path, times: int) -> None:
    command = [sys.executable, "-c", CREATED, str(tmp_path), str(SEED), str(times)]
    print(f"MILAIR_FAULTS_SEED={SEED}")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def workers() -> Iterator[local.Workers]:
    with local.Workers(["cpu"], 1) as pool:
        pool.begin()
        yield pool


def train(workers: local.Workers, training: Training) -> int:
    """Train it, and return the id of the process that did."""
    workers.train("cpu", training)
    next(news for _, news in workers.listen() if isinstance(news, Ended)).check()
    return workers.processes["cpu"].popen.pid


@pytest.mark.faults
def test_two_hundred_trials_in_one_worker_take_no_more_memory_than_twenty(
    tmp_path: Path, workers: local.Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_SHARE", 1000)
    place = Place(tmp_path, text=STORM_SPACE)
    objective, chance, held = place.objective(), random.Random(SEED), []
    assert objective.session.space is not None
    sizes = objective.session.space.dimensions()["image_size"]["choices"]
    workers.start(objective.session.inputs(place.banks))
    for _ in range(200):
        head = LinearHead(chance.choice(["4", "8", "16", "8-8"]))
        baseline = replace(objective.session.space.baseline, cls_head=head)
        recipe = replace(baseline, image_size=chance.choice(sizes), alpha=chance.uniform(0.5, 0.9))
        process = train(workers, objective.session.training(recipe))
        held.append(psutil.Process(process).memory_info().rss / 2**20)
    print("MB after 1, 20, 50, 100, 150 and 200 trials:", [round(held[n - 1]) for n in (1, 20, 50, 100, 150, 200)])
    assert len(held) == 200
    assert max(held[180:]) - held[19] < 30


def test_workers_make_way_for_fresh_ones(
    tmp_path: Path, workers: local.Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_SHARE", 2)
    session = Place(tmp_path).objective().session
    assert session.space is not None
    workers.start(session.inputs(tmp_path / "banks"))
    processes = [train(workers, session.training(session.space.baseline)) for _ in range(3)]
    assert processes[0] == processes[1] != processes[2]
    assert not psutil.pid_exists(processes[0])
