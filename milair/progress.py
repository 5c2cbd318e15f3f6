"""What a search shows while it runs: a line per trial, and a live one in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, TextIO

from tqdm import tqdm

from milair.recipe import Recipe

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from milair.bank import Bank
    from milair.train import Epoch

_SILENCE = 20  # seconds without a line, where there is no live one


class Progress:
    """Prints to one stream. In a terminal the last line is live; elsewhere a whole line comes now and then."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        self.bar: tqdm[Any] | None = None
        self.what = ""  # is being advanced
        self.spoke = monotonic()
        self.goal = self.before = self.finished = 0
        self.best: float | None = None
        self.started = monotonic()

    def say(self, text: str = "") -> None:
        self.close()
        print(text, file=self.stream, flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
        self.bar, self.what = None, ""

    def features(self, what: str, done: int, total: int) -> None:
        """A bank being computed: `done` of `total` views."""
        self._advance(what, done, total, "")

    def bank(self, bank: Bank) -> None:
        """A bank is open."""
        part = bank.train
        held = (part.views + 1) * len(part) + len(bank.val)
        new = f"{bank.computed} computed now" if bank.computed else "all found, none computed"
        size = f"{bank.megabytes:.0f} MB in {bank.folder}"
        self.say(f"bank     {held} views of {len(part) + len(bank.val)} pictures, {new} ({size})")

    def search(self, finished: Sequence[FrozenTrial], goal: int) -> None:
        """A search begins, with these trials finished already."""
        self.goal, self.before, self.finished, self.started = goal, len(finished), len(finished), monotonic()
        self.best = max((trial.value for trial in finished if trial.value is not None), default=None)
        header = (
            f"{'trial':>5}  {'state':<8}  {'score':>6}  {'best':>6}  {'epochs':>6}  {'time':>6}  {'left':>6}  recipe"
        )
        self.say(f"\n{header}")

    def epoch(self, what: str, recipe: Recipe, epoch: Epoch) -> None:
        """An epoch of what is being trained ended."""
        best = epoch.score if self.best is None else max(self.best, epoch.score)
        left = f", {self.left()} left" if self.goal else ""
        self._advance(what, epoch.number, recipe.epochs, f"score {epoch.score:.4f}, best {best:.4f}{left}")

    def trial(self, trial: FrozenTrial) -> None:
        """A trial ended."""
        if trial.state.name in ("COMPLETE", "PRUNED"):
            self.finished += 1
        if trial.value is not None:
            self.best = trial.value if self.best is None else max(self.best, trial.value)
        kept = trial.user_attrs
        note = f"  ({kept['note']})" if "note" in kept else ""
        reason = f"  {kept['error']}" if "error" in kept else ""
        self.say(
            f"{trial.number:>5}  {trial.state.name.lower():<8}  {_number(trial.value):>6}  {_number(self.best):>6}  "
            f"{kept.get('epochs', 0):>6}  {duration(kept.get('seconds', 0)):>6}  {self.left():>6}  "
            f"{describe(kept['recipe'], trial.params) if 'recipe' in kept else ''}{note}{reason}"
        )

    def left(self) -> str:
        """Time until the goal at the pace so far."""
        new = self.finished - self.before
        return duration((monotonic() - self.started) / new * (self.goal - self.finished)) if new else "?"

    def _advance(self, what: str, done: int, total: int, note: str) -> None:
        if what != self.what:
            self.close()
            self.what, self.spoke = what, monotonic()
            if self.stream.isatty():
                self.bar = tqdm(total=total, desc=what, file=self.stream, leave=False, dynamic_ncols=True)
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(done - self.bar.n)
        elif monotonic() - self.spoke > _SILENCE:
            self.spoke = monotonic()
            print(f"         {what}: {done} of {total}{', ' if note else ''}{note}", file=self.stream, flush=True)


def describe(recipe: dict[str, Any], parameters: dict[str, Any]) -> str:
    """What is particular about a trial: its heads, and whatever else its space varies."""
    made = Recipe.from_json(recipe)
    others = [f"{name} {value}" for name, value in parameters.items() if "_head." not in name]
    return ", ".join([f"cls {made.cls_head}", f"reg {made.reg_head}", *others])


def duration(seconds: float) -> str:
    """Seconds for people: 8 s, 3 min, 2.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
