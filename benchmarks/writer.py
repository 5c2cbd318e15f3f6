"""How many workers can one search feed? Its rate of drawing, reporting and telling, with workers that take no time.

    .venv/bin/python benchmarks/writer.py --workers 1000 --trials 1000 [--storage URL]

It is a search as it is, on drawn frames, with its lock, its pruner and its files for the dashboard. Only what workers
tell is made up: as many epochs as the recipe has, at once. All of them have a trial in hand at any time.
"""

from __future__ import annotations

import random
import tempfile
from argparse import ArgumentParser
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from time import perf_counter

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


class Stub:
    """Workers that train in no time, in one process."""

    def __init__(self, workers: int) -> None:
        self.names: Sequence[str] = [f"stub#{number}" for number in range(1, workers + 1)]
        self.news: dict[str, deque[Told]] = {}
        self.turn: deque[str] = deque()
        self.inbox: SimpleQueue[str] = SimpleQueue()  # always empty
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
        self.turn.append(name)

    def stop(self, name: str) -> None:
        self.news[name] = deque([Ended()])

    def listen(self) -> Iterator[tuple[str, Told]]:
        while True:
            name = self.turn.popleft()
            yield name, self.news[name].popleft()
            if self.news[name] and (not self.turn or name not in self.turn):
                self.turn.append(name)


class Clock:
    """As a listener: when each trial had ended."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.reports = 0

    def advance(self, *_: object, **__: object) -> None: ...
    def note(self, text: str, key: str) -> None: ...
    def say(self, text: str = "") -> None: ...
    def search(self, *_: object) -> None:
        self.times.append(perf_counter())

    def trial(self, trial: FrozenTrial, worker: str = "") -> None:  # noqa: ARG002
        self.times.append(perf_counter())
        self.reports += len(trial.intermediate_values)


def feed(folder: Path, url: str, workers: int, trials: int, sampler: str) -> Clock:
    """A search of so many trials by so many workers."""
    space = spaces.load("dense", SPACES)
    frames = sample.write(folder / "frames", labelled=100, unlabelled=2)
    session = open_session(space, None, data=frames, weights="random", split="stratified", overrides={"epochs": "20"})
    baseline = session.recipe(space.baseline)
    order = samplers.shuffled(space, 0, {}, False)
    study = optuna.create_study(storage=storage.open_storage(url), direction="maximize", study_name=f"writer-{workers}")
    study.sampler = samplers.Sampler(sampler, 0, {})
    study.pruner = pruners.pruner(None, baseline.epochs * baseline.augmentations, None)
    board = partial(Board, session, place=artifacts.folder(folder), words=[])
    clock, plan = Clock(), Plan(trials, Confirmation(session.truth, 0), configurations=order)
    running.run(session, study, Stub(workers), plan, clock, None, str, board)
    return clock


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 1000])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--storage", help="default: SQLite in a temporary folder")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for workers in options.workers:
        with tempfile.TemporaryDirectory() as made:
            url = options.storage or storage.default_url(Path(made))
            clock = feed(Path(made), url, workers, options.trials, options.sampler)
        first, *ends = clock.times
        print(f"{workers} workers, {len(ends)} trials, {clock.reports / len(ends):.1f} reports each: ", end="")
        print(f"{(ends[-1] - first) / len(ends) * 1e3:.0f} ms a trial on average")
        last = ends[-min(200, len(ends) // 2) :]
        each = (last[-1] - last[0]) / (len(last) - 1)
        fed = ", ".join(f"{seconds / each:.0f} for trials of {seconds} s" for seconds in (1, 10, 600))
        print(f"  at its end {each * 1e3:.0f} ms a trial, {1 / each:.1f} trials a second; that feeds workers: {fed}")


if __name__ == "__main__":
    main()
