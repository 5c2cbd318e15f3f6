"""How many workers can one search feed? Its rate of drawing, reporting and telling, with workers that take no time.

    .venv/bin/python benchmarks/writer.py --workers 10 100 1000 --sampler tpe random [--storage URL] [--profile]

It is a search as it is, on drawn frames, with its lock, its pruner and its files for the dashboard. Only what workers
tell is made up: as many epochs as the recipe has, at once, one worker after the other by lot. All of them have a trial
in hand at any time. What is measured begins when so many trials are stored, and ends so many later.
"""

from __future__ import annotations

import random
import sys
import tempfile
from argparse import ArgumentParser
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from cProfile import Profile
from functools import partial
from pathlib import Path
from pstats import Stats
from queue import SimpleQueue
from time import perf_counter, process_time

import optuna
from optuna.trial import FrozenTrial

from milair import space as spaces
from milair.frames import sample
from milair.study import artifacts, pruners, running, samplers, storage
from milair.study.confirming import Confirmation
from milair.study.dashboard import Board
from milair.study.searching import Plan
from milair.study.session import open_session
from milair.training.values import Ended, Epoch, Metrics, Opened, Told, Training

SPACES = Path(__file__).parent.parent / "search_spaces"
PARTS = {  # of a search, by file and function: what each costs with all that it calls
    "a draw's trial": ("searching.py", "_draw"),
    "its parameters and recipe": ("objective.py", "prepare"),
    "judging": ("_trial.py", "should_prune"),
    "writing": ("writing.py", "save"),
    "files and note": ("dashboard.py", "trial"),
    "telling": ("study.py", "tell"),
    "the study's page": ("dashboard.py", "study"),
    "workers, which are made up": ("writer.py", "train"),
}


class Stub:
    """Workers that train in no time, in one process."""

    def __init__(self, workers: int) -> None:
        self.names: Sequence[str] = [f"stub#{number}" for number in range(1, workers + 1)]
        self.news: dict[str, deque[Told]] = {}
        self.inbox: SimpleQueue[str] = SimpleQueue()  # of those that have something to tell
        self.random = random.Random(0)

    def train(self, name: str, training: Training) -> None:
        recipe, rows = training.recipe, [[0.0, 0.9, 0.1, 0.1, 0.5, 0.5]] * len(training.split.val)
        parameters = {"total": 1e6, "trainable": 1e6, "MB": 4.0}
        news: list[Told] = [Opened("-", 1, 1, 0, 1.0, "", parameters, 1.0, "cpu", 1)]
        final = self.random.uniform(0.5, 0.9)
        for number in range(1, recipe.all_epochs + 1):
            score = final * number / recipe.all_epochs
            metrics = Metrics(1 - score, 1 - score, 1 - score, score, score)
            passes = number * recipe.augmentations
            news.append(Epoch(number, passes, metrics, metrics, metrics, number, rows, 0.0))
        self.news[name] = deque([*news, Ended()])

    def stop(self, name: str) -> None:
        self.news[name] = deque([Ended()])

    def listen(self) -> Iterator[tuple[str, Told]]:
        while True:
            if self.inbox.empty():  # all that have a training tell once, in any order
                for name in self.random.sample(sorted(self.news), len(self.news)):
                    self.inbox.put(name)
            name = self.inbox.get()
            yield name, self.news[name].popleft()
            if not self.news[name]:
                del self.news[name]


class Enough(Exception):
    """All that is to be measured was."""


class Clock:
    """As a listener: from a number of finished trials on it measures so many."""

    def __init__(self, stored: int, trials: int, profile: Profile | None) -> None:
        self.stored, self.trials, self.profile = stored, trials, profile
        self.ended = self.reports = 0
        self.seconds = self.computing = 0.0

    def advance(self, *_: object, **__: object) -> None: ...
    def note(self, text: str, key: str) -> None: ...
    def say(self, text: str = "") -> None: ...
    def search(self, *_: object) -> None: ...

    def trial(self, trial: FrozenTrial, worker: str = "") -> None:  # noqa: ARG002
        self.ended += 1
        if self.ended % 100 == 0:
            print(f"{self.ended} of {self.stored + self.trials}", end="\r", file=sys.stderr, flush=True)
        if self.ended == self.stored:
            self.seconds, self.computing = -perf_counter(), -process_time()
            if self.profile:
                self.profile.enable()
        elif self.ended > self.stored:
            self.reports += len(trial.intermediate_values)
        if self.ended == self.stored + self.trials:
            if self.profile:
                self.profile.disable()
            self.seconds, self.computing = self.seconds + perf_counter(), self.computing + process_time()
            raise Enough


def feed(folder: Path, url: str, workers: int, sampler: str, clock: Clock) -> None:
    """A search by so many workers, until the clock has enough."""
    space = spaces.load("dense", SPACES)
    frames = sample.write(folder / "frames", labelled=100, unlabelled=2)
    session = open_session(space, None, data=frames, weights="random", split="stratified", overrides={"epochs": "20"})
    baseline = session.recipe(space.baseline)
    order = samplers.shuffled(space, 0, {}, False)
    name = f"writer-{workers}-{sampler}"
    study = optuna.create_study(storage=storage.open_storage(url), direction="maximize", study_name=name)
    study.sampler = samplers.Sampler(sampler, 0, {})
    study.pruner = pruners.pruner(None, baseline.epochs * baseline.augmentations, None)
    board = partial(Board, session, place=artifacts.folder(folder), words=[])
    plan = Plan(clock.stored + clock.trials + workers, Confirmation(session.truth, 0), configurations=order)
    with suppress(Enough):
        running.run(session, study, Stub(workers), plan, clock, None, str, board)


def shares(profile: Profile) -> Iterator[str]:
    """Of the time that a profile has measured, what went where."""
    stats = Stats(profile).stats  # type: ignore[attr-defined]
    total = sum(own for _, _, own, _, _ in stats.values())
    for part, (file, function) in PARTS.items():
        inside = sum(
            all_in
            for (path, _, name), (_, _, _, all_in, _) in stats.items()
            if (Path(path).name, name) == (file, function)
        )
        yield f"{part} {inside / total:.0%}"


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--sampler", nargs="+", default=["tpe", "random"])
    parser.add_argument("--stored", type=int, default=1000, help="trials that are there when the clock starts")
    parser.add_argument("--trials", type=int, default=200, help="trials that are measured")
    parser.add_argument("--storage", help="default: SQLite in a temporary folder")
    parser.add_argument("--profile", action="store_true", help="where the time goes; the rates are lower meanwhile")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for sampler in options.sampler:
        for workers in options.workers:
            profile = Profile(process_time) if options.profile else None
            clock = Clock(options.stored, options.trials, profile)
            with tempfile.TemporaryDirectory() as made:
                feed(Path(made), options.storage or storage.default_url(Path(made)), workers, sampler, clock)
            each, reports = clock.seconds / clock.trials, clock.reports / clock.seconds
            print(f"{workers} workers, {sampler}, {clock.trials} trials after {clock.stored}: ", end="")
            print(f"{each * 1e3:.0f} ms a trial ({clock.computing / clock.trials * 1e3:.0f} ms of one core), ", end="")
            print(f"{1 / each:.1f} trials and {reports:.0f} reports a second; that feeds workers: ", end="")
            print(", ".join(f"{seconds / each:.0f} for trials of {seconds} s" for seconds in (1, 10, 600)), flush=True)
            if profile:
                print("  " + ", ".join(shares(profile)), flush=True)


if __name__ == "__main__":
    main()
