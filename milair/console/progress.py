"""What a command shows while it runs: a line per trial, and in a terminal a live one per worker."""

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import TextIO

from optuna.trial import FrozenTrial, TrialState
from rich import progress
from rich.console import Console, Group, RenderableType
from rich.table import Column, Table

from milair.recipe import describe
from milair.study import duration, kept
from milair.study.arms import CONFIRMS, FOLDS, is_begun, state_name
from milair.study.limits import within
from milair.study.results import FINISHED

_SILENCE = 20  # seconds without a line, where there is no live one
_ENDLESS = 10_000  # columns of a stream that is no terminal: a program reads it, line by line


class Progress:
    """Prints to one stream. In a terminal the last lines are live; elsewhere a whole line comes now and then."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        terminal = self.stream.isatty()
        self.console = Console(
            file=self.stream,
            force_terminal=terminal,
            force_jupyter=False,  # a notebook's cell gets plain lines
            width=None if terminal else _ENDLESS,
            markup=False,
            highlight=False,
            emoji=False,
        )
        self.live: progress.Progress | None = None
        self.tasks: dict[str, progress.TaskID] = {}  # by worker
        self.spoke: dict[str, float] = {}  # when a line last said so, by what it says
        self.paces: dict[
            str, tuple[float, int]
        ] = {}  # when its first steps were told of, and how many, by what it says
        self.noted: set[str] = set()
        self.search((), 0, ())  # none yet

    @contextmanager
    def silent(self, quiet: bool = True) -> Iterator[None]:
        """A block in which nothing is shown, if that is asked for."""
        self.console.quiet = quiet
        try:
            yield
        finally:
            self.console.quiet = False

    def say(self, text: RenderableType = "") -> None:
        """Print text, folded at words in a terminal, or what else rich can render, below all that was live."""
        self.close()
        self._print(text)

    def note(self, text: RenderableType, key: str) -> None:
        """Print something above what is live, the first time that its key comes up."""
        if key not in self.noted:
            self.noted.add(key)
            self._print(text)

    def close(self) -> None:
        """End the live lines. The next step begins them again."""
        if self.live is not None:
            self.live.stop()
        self.live = None
        self.tasks.clear()

    def search(
        self, finished: Sequence[FrozenTrial], ahead: int, workers: Sequence[str], deadline: float = math.inf
    ) -> None:
        """A search begins, with these trials finished already, and so many trainings `ahead`: of trials to be drawn,
        and of each fold of those that are to be confirmed. None begins after the `deadline` of time.monotonic."""
        self.ahead, self.workers, self.started, self.deadline = ahead, list(workers), monotonic(), deadline
        self.ended = 0  # of these trainings
        self.best: float | None = None
        self.begun: float | None = None  # the best of those that had one fold only
        for trial in finished:
            self._rank(trial)

    def trial(self, trial: FrozenTrial, worker: str = "") -> None:
        """A trial ended: its line stands above what is live of other workers."""
        self._meet(worker)
        if self.live is not None and worker in self.tasks:
            self.live.update(self.tasks[worker], visible=False)
        if trial.state in FINISHED:
            trainings = trial.user_attrs.get(FOLDS, 1) if CONFIRMS in trial.user_attrs else 1
            self.ended, self.ahead = self.ended + trainings, max(0, self.ahead - trainings)
        self._rank(trial)
        attributes = trial.user_attrs
        remarks = [
            describe(recipe, trial.params) if (recipe := kept.recipe(trial)) else "",
            f"({attributes['note']})" if "note" in attributes else "",
            kept.error(trial),
        ]
        head = self._row("trial", "worker", "state", "score", "best", "epochs", "time", "left", "recipe")
        self.note(Group("", head), f"the head of the table of trials, {len(self.workers) > 1}")
        self._print(
            self._row(
                str(trial.number),
                worker,
                state_name(trial),
                *("" if value is None else f"{value:.4f}" for value in (trial.value, self._best)),
                str(attributes.get("epochs", 0)),
                duration(attributes.get("seconds", 0)),
                self.left(),
                "  ".join(filter(None, remarks)),
            )
        )

    def left(self) -> str:
        """Time until the end at the pace so far; less if one stands out before all are confirmed that may be."""
        now = monotonic()
        at_this_pace = (now - self.started) / self.ended * self.ahead if self.ended else math.inf
        seconds = min(at_this_pace, max(0.0, self.deadline - now))
        return duration(seconds) if math.isfinite(seconds) else "?"

    def advance(self, what: str, done: int, total: int, score: float | None = None, worker: str = "") -> None:
        """`done` of `total` steps of something are done, by one of the workers."""
        self._meet(worker)
        label = f"{worker} {what}" if len(self.workers) > 1 else what
        remarks = [] if score is None else [f"score {score:.4f}"]
        if score is not None and self._best is not None:
            remarks.append(f"best {self._best:.4f}")
        if pace := self._pace(label, done):
            remarks.append(f"{pace:.3g} a second")
            if score is None:
                remarks.append(f"{duration((total - done) / pace)} left")
        if score is not None and self.workers:
            remarks.append(f"{self.left()} left")
        if self.console.is_terminal:
            self._show(worker, label, done, total, ", ".join(remarks))
        elif monotonic() - self.spoke.setdefault(label, monotonic()) > _SILENCE:
            self.spoke[label] = monotonic()
            self._print(f"         {label}: {', '.join([f'{done} of {total}', *remarks])}")

    def _pace(self, label: str, done: int) -> float:
        """Steps a second since they were first told of; 0 if that is now."""
        now, (since, first) = monotonic(), self.paces.get(label, (0.0, done + 1))
        if done < first:  # another one of that name
            since, first = self.paces[label] = now, done
        return (done - first) / (now - since) if done > first and now > since else 0.0

    @property
    def _best(self) -> float | None:
        """The best complete score; that of one fold as long as there is none."""
        return self.begun if self.best is None else self.best

    def _meet(self, worker: str) -> None:
        """Those of a cluster come and go; with the second one their column comes."""
        if worker and worker not in self.workers:
            self.workers.append(worker)

    def _rank(self, trial: FrozenTrial) -> None:
        if trial.value is not None and within(trial):
            if trial.state == TrialState.COMPLETE:
                self.best = max(self.best or 0.0, trial.value)
            elif is_begun(trial):
                self.begun = max(self.begun or 0.0, trial.value)

    def _print(self, text: RenderableType) -> None:
        self.console.print(text, crop=False)  # what shall not be folded says so
        self.stream.flush()

    def _row(self, trial: str, worker: str, state: str, *cells: str) -> Table:
        """A line of the table of trials; in a terminal the recipe at its end is folded below itself."""
        *numbers, recipe = cells
        workers = [f"{worker:<{max(6, *map(len, self.workers))}}"] if len(self.workers) > 1 else []
        row = Table.grid(Column(no_wrap=True), Column(), padding=(0, 2))
        columns = [f"{trial:>5}", *workers, f"{state:<8}", *(f"{number:>6}" for number in numbers)]
        row.add_row("  ".join(columns), recipe)
        return row

    def _show(self, worker: str, label: str, done: int, total: int, remarks: str) -> None:
        if self.live is None:
            self.live = progress.Progress(
                progress.TextColumn("{task.description}", markup=False),
                progress.BarColumn(bar_width=None),
                progress.MofNCompleteColumn(),
                progress.TextColumn("{task.fields[remarks]}", markup=False),
                console=self.console,
                transient=True,
                expand=True,
                redirect_stdout=False,  # which may be another stream than ours
                redirect_stderr=False,
            )
            self.live.start()
        for name in (*self.workers, worker):  # their lines keep their places
            if name not in self.tasks:
                self.tasks[name] = self.live.add_task("", visible=False, remarks="")
        self.live.update(
            self.tasks[worker], description=label, completed=done, total=total, visible=True, remarks=remarks
        )
