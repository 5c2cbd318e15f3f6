"""Real faults for a search in processes of its own: kills, storms of kills, full disks. Any storage URL will do."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import optuna
import psutil
import pytest
import tiny
from optuna.trial import FrozenTrial, TrialState

from milair import api, space
from milair.errors import MilairError
from milair.study import storage
from milair.study.arms import CONFIRMS
from milair.study.kept import curves, error, outputs, recipe
from milair.study.kept import trained as trained_recipe
from milair.study.objective import Objective
from milair.study.results import FINISHED
from milair.training.in_process import Trainer

SEED = int(os.environ.get("MILAIR_FAULTS_SEED") or random.SystemRandom().randrange(10**6))
STUDY = "tiny@frames"
PATIENCE = 180.0  # seconds for what takes a few on a quiet machine

_ENOUGH = ("times without finishing a trial", "3 trials failed in a row, the last with: 3 workers died with it")

# So many image sizes, each with a bank of its own, and so few configurations that some come twice.
STORM_SPACE = (
    tiny.SPACE.replace('"alpha", 0.5, 0.9', '"alpha", 0.5, 0.9, step=0.1')
    .replace("BASELINE,\n", 'BASELINE,\n        image_size=trial.suggest_categorical("image_size", SIZES),\n', 1)
    .replace("def space", 'SIZES = ["64x48", "96x64", "128x96", "160x112", "192x128", "224x144"]\n\ndef space')
)


class Search:
    """`python -m milair.search` in a process of its own, ended with its block whatever happens there."""

    def __init__(self, options: Sequence[str]) -> None:
        self._folder = TemporaryDirectory()
        self._output, self._errors = (Path(self._folder.name, name) for name in ("output", "errors"))
        with self._output.open("w") as output, self._errors.open("w") as errors:
            self.process = psutil.Popen(
                [sys.executable, "-m", "milair.search", *options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                preexec_fn=_hear_interrupts,
            )
        self._said: tuple[str, str] | None = None
        self.seen: dict[int, psutil.Process] = {}  # all workers that there ever were

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        workers = [*self.workers(), *self.seen.values()]
        for process in (self.process, *workers):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        self._said = self.output, self.errors
        self._folder.cleanup()

    def workers(self) -> list[psutil.Process]:
        """Its worker processes that live, in the order in which they began."""
        with suppress(psutil.NoSuchProcess):
            for child in self.process.children():
                with suppress(psutil.NoSuchProcess):
                    if child.pid not in self.seen and "-c" in child.cmdline():
                        self.seen[child.pid] = child
        return [worker for worker in self.seen.values() if not gone(worker)]

    def alone(self, seconds: float = 60) -> bool:
        """Whether all its workers end in that time."""
        return until(lambda: not self.workers(), seconds)

    @property
    def over(self) -> bool:
        return self.process.poll() is not None

    @property
    def output(self) -> str:
        return self._said[0] if self._said else self._output.read_text()

    @property
    def errors(self) -> str:
        return self._said[1] if self._said else self._errors.read_text()

    def end(self, seconds: float = PATIENCE) -> int:
        """Its exit status, once it has ended."""
        try:
            return int(self.process.wait(seconds))
        except psutil.TimeoutExpired:
            raise AssertionError(f"the search goes on after {seconds} s\n{self.output}\n{self.errors}") from None


class Place:
    """Frames, a space, a bank and a study of them; the database is an SQLite file there, or wherever `url` says."""

    def __init__(
        self, folder: Path, *, url: str | None = None, text: str = tiny.SPACE, split: str = "stratified"
    ) -> None:
        self.folder, self.banks, self.split = folder, folder / "banks", split
        folder.mkdir(parents=True, exist_ok=True)
        self.options = tiny.make(folder)
        self.url = url or storage.default_url(folder / "studies")
        self.options += ["--storage", self.url, "--bank", str(self.banks), "--split", split]
        self.space = folder / "spaces" / "tiny.py"
        self.space.write_text(text)

    def search(self, *more: str) -> Search:
        return Search([*self.options, *more])

    def trials(self, study: str = STUDY) -> list[FrozenTrial]:
        """The study's trials as they are now; none before there is a study."""
        try:
            database = storage.open_storage(self.url, create=False)
        except MilairError:
            return []
        try:
            if study not in optuna.get_all_study_names(database):
                return []
            return optuna.load_study(study_name=study, storage=database).trials
        finally:
            database.remove_session()
            database.engine.dispose()

    def study(self) -> optuna.Study:
        return storage.load_study(storage.open_storage(self.url, create=False), STUDY)

    def states(self) -> Counter[str]:
        return Counter(trial.state.name for trial in self.trials())

    def finished(self) -> dict[int, dict[str, Any]]:
        """All that is kept of each finished trial, by its number."""
        return kept(self.trials())

    def objective(self, banks: Path | None = None, views: int = 2, **given: Any) -> Objective:
        """What a search of it runs, in this process."""
        folder, spaces = self.folder / "frames", self.folder / "spaces"
        return api.objective(
            "tiny",
            data=folder,
            views=views,
            device="cpu",
            spaces=spaces,
            bank=banks or self.banks,
            split=self.split,
            **given,
        )

    def trainer(self, banks: Path | None = None, views: int = 2) -> Trainer:
        """What its workers run, in this process."""
        trainer = self.objective(banks, views).trainer
        assert isinstance(trainer, Trainer)
        return trainer

    def undisturbed(self, banks: Path, views: int = 2) -> dict[str, str]:
        """The files of all its banks, computed anew, in peace."""
        objective = self.objective(banks, views)
        trainer, session = objective.trainer, objective.session
        chosen = space.load("tiny", self.space.parent)
        sizes = chosen.dimensions().get("image_size", {"choices": [chosen.baseline.image_size]})["choices"]
        for size in sizes:
            trainer.bank(session.training(session.recipe(chosen.baseline).override({"image_size": size})))
        return files(banks)


def kept(trials: Sequence[FrozenTrial]) -> dict[int, dict[str, Any]]:
    """All that is kept of each finished trial, by its number."""
    found = {}
    for trial in trials:
        if trial.state in FINISHED:
            about: dict[str, Any] = {"params": trial.params, "state": trial.state.name, "value": trial.value}
            about |= {"reports": trial.intermediate_values, "attributes": trial.user_attrs}
            about |= {"recipe": recipe(trial), "curves": curves(trial), "outputs": outputs(trial)}
            found[trial.number] = about | {"times": (str(trial.datetime_start), str(trial.datetime_complete))}
    return found


def assert_whole(trials: Sequence[FrozenTrial], total: int) -> None:
    """The total is exact, nothing is left in between, and nothing was trained twice.

    By folds some were trained again, or died with three workers each time: one at least, a tenth at most."""
    states = Counter(trial.state for trial in trials)
    confirming = [trial for trial in trials if CONFIRMS in trial.user_attrs and trial.state in FINISHED]
    assert sum(states[state] for state in FINISHED) - len(confirming) == total, states
    most = max(total // 10, 1) if any("folds" in trial.user_attrs for trial in trials) else 0
    assert len(confirming) <= most, [trial.number for trial in confirming]
    assert bool(most) == any(CONFIRMS in trial.user_attrs for trial in trials)
    assert set(states) <= {*FINISHED, TrialState.FAIL}, states
    assert [trial.number for trial in trials] == list(range(len(trials)))
    for trial in trials:
        if trial.state == TrialState.FAIL:
            assert error(trial) == "3 workers died with it"
    trained = [json.dumps(trained_recipe(trial), sort_keys=True) for trial in trials if trial.state in FINISHED]
    assert [recipe for recipe, count in Counter(trained).items() if count > 1] == []


def assert_one_line(search: Search, *words: str) -> None:
    """It failed, and said why in one clear line."""
    assert search.end() == 1, search.output
    line = search.errors
    assert line.startswith("milair: "), line
    assert line.count("\n") == 1, line
    assert all(word in line for word in words), line


def files(banks: Path) -> dict[str, str]:
    """What is in each bank's files."""
    names = ("features.f32", "rows.index", "about.json")
    found = [path for path in sorted(banks.glob("*/*")) if path.name in names]
    return {str(path.relative_to(banks)): sha256(path.read_bytes()).hexdigest() for path in found}


def feature_bytes(banks: Path) -> int:
    """How much of all banks is computed."""
    return sum(path.stat().st_size for path in banks.glob("*/features.f32"))


def _hear_interrupts() -> None:
    """A shell's background job, as tests may be, ignores SIGINT, and so would all that it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def until(holds: Callable[[], object], seconds: float = PATIENCE, pause: float = 0.02) -> bool:
    """Wait until something holds; whether it did in time."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True


def gone(process: psutil.Process) -> bool:
    """Whether a process has ended, whoever was to notice."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@dataclass
class Storm:
    """Kills at random moments of a study, which is begun again whenever it ended, until it has its total."""

    place: Place
    kills: int
    seed: int = SEED
    epochs: int = 80
    total: int = 20  # trials to begin with; ten more whenever they are there before the kills
    longest: float = 8  # seconds between two kills
    before: dict[int, dict[str, Any]] = field(default_factory=dict)  # finished trials
    hits: Counter[str] = field(default_factory=Counter)  # what was killed, and what went on then

    def run(self) -> list[FrozenTrial]:
        """Returns the study's trials, having checked after each kill that no finished one was lost or changed."""
        print(f"MILAIR_FAULTS_SEED={self.seed}")
        self.chance = random.Random(self.seed)
        self.peaceful = self.place.undisturbed(self.place.folder / "peaceful")
        self.whole = feature_bytes(self.place.folder / "peaceful")
        with ExitStack() as searches:  # workers of a killed one may meet those of the next
            while True:
                search = searches.enter_context(self._search())
                while self.hits["kills"] < self.kills and not search.over:
                    self._strike(search)
                    self._look()
                status = search.end(2 * PATIENCE)
                self._look()
                self.hits[f"exit {status}"] += 1
                said = f"exit status {status}\n{search.output}\n{search.errors}"
                assert status in (0, 1, -9), said
                assert search.errors.count("\n") == (status == 1), said
                assert status != 1 or any(reason in search.errors for reason in _ENOUGH), said
                if status == 0:
                    assert_whole(self.place.trials(), self.total)
                    if self.hits["kills"] == self.kills:
                        break
                    self.total += 10
                elif self.chance.random() < 0.5:
                    assert search.alone(5), "workers outlive their search"
        print(dict(self.hits))
        return self.place.trials()

    def spoilt_banks(self) -> list[str]:
        """Files of the study's banks that are not those of banks computed in peace, once nothing is missing."""
        now = self.place.undisturbed(self.place.banks)
        return sorted(name for name in {*now, *self.peaceful} if now.get(name) != self.peaceful.get(name))

    def _look(self) -> None:
        now = self.place.finished()
        for number, trial in self.before.items():
            assert now.get(number) == trial, f"finished trial {number} was lost or changed"
        self.before = now

    def _search(self) -> Search:
        length = ("--set", f"epochs={self.epochs}", "--set", f"patience={self.epochs}")
        return self.place.search(*length, "--devices", "cpu,cpu", "--trials", str(self.total))

    def _strike(self, search: Search) -> None:
        """Wait for a random moment, and kill a worker, the search, or all at once."""
        aim = self.chance.choice(["start", "any", "any", "trial", "trial", "bank"])
        size = feature_bytes(self.place.banks)
        if aim == "bank" and size == self.whole:
            aim = "trial"
        if aim != "start":
            until(lambda: search.workers() or search.over)
        if aim == "trial":
            until(lambda: self.place.states()["RUNNING"] or search.over)
            time.sleep(self.chance.uniform(0, 1))
        elif aim == "bank":
            aim = "bank" if until(lambda: feature_bytes(self.place.banks) != size or search.over, 20, 0.002) else "any"
        else:
            time.sleep(self.chance.uniform(0, self.longest))
        workers = search.workers()
        everything = [search.process, *workers]
        victims = self.chance.choice([everything, *([process] for process in everything)])
        if search.over:
            return
        for victim in victims:
            with suppress(psutil.NoSuchProcess):
                victim.kill()
        who = "everything" if victims is everything else "worker" if victims[0] in workers else "search"
        running = self.place.states()["RUNNING"] > 0
        self.hits += Counter(["kills", who] + ["during a trial"] * running + ["during a bank"] * (aim == "bank"))


def rush(place: Place, *, trials: int, workers: int = 4) -> float:
    """So many queued trials of one epoch, trained by several workers: each once. Returns the seconds."""
    options = [*place.options, "--set", "epochs=1", "--set", "patience=1", "--devices", ",".join(["cpu"] * workers)]
    assert tiny.search(options, "--trials", "0") == 0  # the study, with its baseline in the queue
    study = place.study()
    for number in range(1, trials):
        study.enqueue_trial({"cls_head.widths": "4", "alpha": 0.5 + number / 1000})
    begun = time.monotonic()
    with redirect_stdout(StringIO()) as output:
        assert tiny.search(options, "--trials", str(trials)) == 0
    seconds = time.monotonic() - begun
    assert_whole(place.trials(), trials)
    assert len(place.trials()) == trials
    rows = [line.split()[0] for line in output.getvalue().splitlines() if " complete " in line]
    assert sorted(map(int, rows)) == list(range(trials)), "run twice, or not at all"
    return seconds


@contextmanager
def small_disk(folder: Path, megabytes: float) -> Iterator[Path]:
    """A disk of that size, mounted at the folder. The test is skipped where nobody may mount."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={int(megabytes * 1024)}k"]
    try:
        made = subprocess.run(["mount", *options, "milair-test", str(folder)], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if made.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def resize(disk: Path, megabytes: int) -> None:
    subprocess.run(["mount", "-o", f"remount,size={megabytes}m", str(disk)], check=True)


def fill(disk: Path, *, leave: int = 0) -> Path:
    """Take all the room on a disk but so many bytes; delete the file that is returned to have it back."""
    filler = disk / "filler"
    with filler.open("ab") as file, suppress(OSError):
        while True:
            os.write(file.fileno(), bytes(4096))
    if leave:
        os.truncate(filler, max(0, filler.stat().st_size - leave))
    return filler
