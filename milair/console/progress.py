"""What a search shows while it runs: a line per trial, and a live one per worker in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, TextIO

from tqdm import tqdm

from milair.recipe import Recipe, describe
from milair.study.results import duration

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from milair.features.bank import Bank
    from milair.training.train import Epoch

_SILENCE = 20  # seconds without a line, where there is no live one


class Listener:
    """Turns what a bank, a training and a trial tell into two kinds of news."""

    def advance(self, what: str, done: int, total: int, score: float | None = None) -> None:
        """`done` of `total` steps of something are done."""

    def note(self, text: str, key: str) -> None:
        """A line worth reading, the first time that its key comes up."""

    def features(self, what: str, done: int, total: int) -> None:
        """A bank is being computed: `done` of `total` views."""
        self.advance(what, done, total)

    def bank(self, bank: Bank) -> None:
        """A bank is open."""
        part = bank.train
        held = (part.views + 1) * len(part) + len(bank.val)
        new = f"{bank.computed} computed now" if bank.computed else "all found, none computed"
        size = f"{bank.megabytes:.0f} MB in {bank.folder}"
        pictures = f"bank     {held} views of {len(part) + len(bank.val)} pictures"
        self.note(f"{pictures}, {new} ({size})", f"{pictures} {size}")

    def epoch(self, what: str, recipe: Recipe, epoch: Epoch) -> None:
        """An epoch of what is being trained ended."""
        self.advance(what, epoch.number, recipe.epochs, epoch.score)


class Progress(Listener):
    """Prints to one stream. In a terminal the last lines are live; elsewhere a whole line comes now and then."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.workers = [""]  # who advances: one line each
        self.bars: dict[str, tqdm[Any]] = {}
        self.doing = {"": ("", monotonic())}  # by worker: what, and when a line last said so
        self.goal = self.before = self.finished = 0
        self.best: float | None = None
        self.started = monotonic()
        self.headed = False
        self.noted: set[str] = set()

    def say(self, text: str = "") -> None:
        self.close()
        print(text, file=self.stream, flush=True)

    def note(self, text: str, key: str) -> None:
        if key not in self.noted:
            self.noted.add(key)
            self.say(text)

    def close(self) -> None:
        for bar in self.bars.values():
            bar.close()
        if self.bars:
            self.stream.write("\r")  # lower bars leave the cursor where they ended
        self.bars.clear()

    def search(self, finished: Sequence[FrozenTrial], goal: int, workers: Sequence[str]) -> None:
        """A search begins, with these trials finished already."""
        self.goal, self.before, self.finished, self.started = goal, len(finished), len(finished), monotonic()
        self.best = max((trial.value for trial in finished if trial.value is not None), default=None)
        self.workers, self.headed = list(workers), False

    def trial(self, trial: FrozenTrial, worker: str = "") -> None:
        """A trial ended."""
        if trial.state.name in ("COMPLETE", "PRUNED"):
            self.finished += 1
        if trial.value is not None:
            self.best = trial.value if self.best is None else max(self.best, trial.value)
        kept = trial.user_attrs
        made = describe(kept["recipe"], trial.params) if "recipe" in kept else ""
        remarks = [f"({kept['note']})"] if "note" in kept else []
        remarks += [kept["error"]] if kept.get("error") else []
        cells = [f"{trial.number:>5}", *self._column(worker), f"{trial.state.name.lower():<8}"]
        cells += [f"{_number(trial.value):>6}", f"{_number(self.best):>6}", f"{kept.get('epochs', 0):>6}"]
        cells += [f"{duration(kept.get('seconds', 0)):>6}", f"{self.left():>6}", made, *remarks]
        if not self.headed:
            head = ["trial", *self._column("worker"), f"{'state':<8}", " score", "  best", "epochs", "  time", "  left"]
            self.say("\n" + "  ".join([*head, "recipe"]))
            self.headed = True
        self.say("  ".join(cells))

    def left(self) -> str:
        """Time until the goal at the pace so far."""
        new = self.finished - self.before
        return duration((monotonic() - self.started) / new * (self.goal - self.finished)) if new else "?"

    def advance(self, what: str, done: int, total: int, score: float | None = None, worker: str = "") -> None:
        remarks = []
        if score is not None:
            best = score if self.best is None else max(self.best, score)
            remarks += [f"score {score:.4f}", f"best {best:.4f}"]
            remarks += [f"{self.left()} left"] if self.goal else []
        label = f"{worker} {what}" if len(self.workers) > 1 else what
        before, spoke = self.doing.get(worker, ("", 0.0))
        if what != before:
            if worker in self.bars:
                self.bars.pop(worker).close()
            spoke = monotonic()
        if self.stream.isatty():
            self._bar(worker, label, total).set_postfix_str(", ".join(remarks), refresh=False)
            self.bars[worker].update(done - self.bars[worker].n)
        elif monotonic() - spoke > _SILENCE:
            spoke = monotonic()
            print(f"         {label}: {', '.join([f'{done} of {total}', *remarks])}", file=self.stream, flush=True)
        self.doing[worker] = (what, spoke)

    def _bar(self, worker: str, label: str, total: int) -> tqdm[Any]:
        if worker not in self.bars:
            line = self.workers.index(worker) if worker in self.workers else 0
            self.bars[worker] = tqdm(
                total=total, desc=label, file=self.stream, leave=False, dynamic_ncols=True, position=line
            )
        return self.bars[worker]

    def _column(self, worker: str) -> list[str]:
        return [f"{worker:<{max(6, *map(len, self.workers))}}"] if len(self.workers) > 1 else []


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
