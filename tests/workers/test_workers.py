"""Worker processes by themselves: what they load, what they print, when they die, and what a search loads for them."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import forked
import psutil
import pytest
from faults import Place, until

from milair.errors import MilairError
from milair.training.values import Died, Ended, Epoch, Opened, Told, Training
from milair.workers import local
from milair.workers.messages import Stop

# A module that each worker loads as it starts. It runs before all that milair does there.
HOOK = """
import json, os, sys
print("not a message")
"""


@pytest.fixture(autouse=True)
def _begin_as_in_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_Process", forked.Process.__base__)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let workers that begin from now on run some code first."""

    def write(code: str) -> None:
        folder = tmp_path / "hook"
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(HOOK + code)
        monkeypatch.setenv("PYTHONPATH", str(folder))

    return write


def baseline(place: Place, workers: local.Workers) -> Training:
    session = place.objective().session
    assert session.space is not None
    workers.start(session.inputs(place.banks))
    return session.training(session.space.baseline)


def told(workers: local.Workers, training: Training) -> Iterator[Told]:
    """What the first worker tells of a training, to its end."""
    workers.train(workers.names[0], training)
    for _, news in workers.listen():
        yield news
        if isinstance(news, Ended | Died):
            return


def test_a_worker_trains_and_tells_whatever_its_libraries_print(place: Place, hook: Any) -> None:
    hook("sys.stdout.write('x' * 100000)")
    with local.Workers(["cpu"], 1) as workers:
        workers.begin()
        training = baseline(place, workers)
        news = [type(item) for item in told(workers, training) if isinstance(item, Opened | Epoch | Ended | Died)]
    assert news == [Opened, *[Epoch] * training.recipe.epochs, Ended]


LOADED = """
import signal
def dump(*_):
    json.dump(sorted(sys.modules), open(os.path.join(PLACE, "part"), "w"))
    os.rename(os.path.join(PLACE, "part"), os.path.join(PLACE, "modules"))
signal.signal(signal.SIGUSR1, dump)
"""


def test_a_worker_loads_neither_optuna_nor_sqlalchemy(place: Place, hook: Any, tmp_path: Path) -> None:
    hook(LOADED.replace("PLACE", repr(str(tmp_path))))
    with local.Workers(["cpu"], 1) as workers:
        workers.begin()
        list(told(workers, baseline(place, workers)))
        workers.processes["cpu"].popen.send_signal(signal.SIGUSR1)
        assert until((tmp_path / "modules").exists, 20)
    loaded = json.loads((tmp_path / "modules").read_text())
    assert "milair.training.in_process" in loaded
    assert not {name.split(".")[0] for name in loaded} & {"optuna", "sqlalchemy", "pandas"}


SEARCH = """
import sys
from milair.study.searching import Search
run = Search.run

def watched(self):
    end = run(self)
    print("loaded:", sorted({name.split(".")[0] for name in sys.modules} & {"torch", "torchvision"}))
    return end

Search.run = watched
from milair.search import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("devices", ["cpu", "auto"])
def test_a_search_loads_no_torch(place: Place, devices: str) -> None:
    if devices == "auto" and Path("/dev/nvidiactl").exists():
        pytest.skip("torch is asked how many GPUs there are")
    command = [sys.executable, "-c", SEARCH, *place.options, "--trials", "1", "--devices", devices]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "loaded: []\n" in done.stdout


def test_a_worker_that_cannot_begin_says_why_and_is_not_begun_for_ever(place: Place, hook: Any) -> None:
    hook("sys.exit('no torch for you')")
    with local.Workers(["cpu"], 1) as workers:
        workers.begin()
        training = baseline(place, workers)
        with pytest.raises(MilairError, match=r"worker cpu died \(.*no torch for you\), 4 times without finishing"):
            workers.check(training)


def test_a_worker_that_dies_as_it_checks_is_asked_again(place: Place) -> None:
    with local.Workers(["cpu", "cpu"], 1) as workers:
        workers.begin()
        training = baseline(place, workers)
        first = workers.processes["cpu#1"].popen
        first.kill()
        first.wait()
        workers.processes["cpu#2"].popen.kill()
        workers.check(training)
        with pytest.raises(MilairError, match="nonesuch"):
            workers.check(replace(training, recipe=training.recipe.override({"backbone": "nonesuch"})))


def test_a_message_that_cannot_be_read_ends_its_worker(place: Place) -> None:
    with local.Workers(["cpu"], 1) as workers:
        workers.begin()
        baseline(place, workers)
        workers.processes["cpu"].pipe.send_bytes(b"no pickle")
        news = next(news for _, news in workers.listen())
    assert isinstance(news, Died)
    assert "UnpicklingError" in news.reason


# One of two workers stops in the middle of a message.
CUT = """
command = open("/proc/self/cmdline").read().split("\\0")
try:
    os.close(os.open(os.path.join(PLACE, "cut"), os.O_CREAT | os.O_EXCL))
except FileExistsError:
    pass
else:
    os.write(int(command[3]), (1000).to_bytes(4, "big") + b"half a message")
    os.kill(os.getpid(), 19)
"""


def test_a_message_that_is_cut_holds_up_no_other_worker(place: Place, hook: Any, tmp_path: Path) -> None:
    """As that of a worker which is stopped, or killed, while it sends."""
    hook(CUT.replace("PLACE", repr(str(tmp_path))))
    with local.Workers(["cpu", "cpu"], 1) as workers:
        workers.begin()
        training = baseline(place, workers)
        for name in workers.names:
            workers.train(name, training)
        assert until(lambda: stopped(workers))
        well = next(name for name, news in workers.listen() if isinstance(news, Ended))
        (name,) = stopped(workers)
        assert name != well
        workers.processes[name].popen.kill()
        assert isinstance(next(news for who, news in workers.listen() if who == name), Died)
        workers.train(name, training)
        assert next(who for who, news in workers.listen() if isinstance(news, Ended)) == name


def stopped(workers: local.Workers) -> list[str]:
    processes = {name: psutil.Process(process.popen.pid) for name, process in workers.processes.items()}
    return [name for name, process in processes.items() if process.status() == psutil.STATUS_STOPPED]


def test_a_training_that_is_stopped_ends_and_the_next_one_is_whole(place: Place) -> None:
    """Also when the word to stop comes after its end."""
    with local.Workers(["cpu"], 1) as workers:
        workers.begin()
        training = baseline(place, workers)
        long = replace(training, recipe=training.recipe.override({"epochs": "5000", "patience": "5000"}))
        for news in told(workers, long):
            if isinstance(news, Epoch):
                workers.stop("cpu")
            last = news
        assert last == Ended()
        workers.processes["cpu"].send(Stop())
        epochs = [news for news in told(workers, training) if isinstance(news, Epoch)]
        assert len(epochs) == training.recipe.epochs
