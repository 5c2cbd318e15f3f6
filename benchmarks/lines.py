"""What benchmarks measure: two ways to do one thing, timed in turns in one run, as a line of a table."""

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter

import torch

Run = Callable[[], object]


@dataclass(frozen=True)
class Line:
    """A ratio: how many times as long `theirs` takes as `ours`."""

    what: str
    against: str
    ours: Sequence[float]  # seconds (or MB) of each turn
    theirs: Sequence[float]
    unit: str = "s"
    note: str = ""

    @property
    def ratio(self) -> float:
        return median(self.theirs) / median(self.ours)

    def cells(self) -> tuple[str, ...]:
        n = " and ".join(dict.fromkeys(str(len(times)) for times in (self.ours, self.theirs)))
        return (
            self.what,
            self.against,
            self._said(self.ours),
            self._said(self.theirs),
            f"{self.ratio:.2f}",
            n,
            self.note,
        )

    def _said(self, times: Sequence[float]) -> str:
        spread = f" ({_number(min(times))} to {_number(max(times))})" if len(times) > 1 else ""
        return f"{_number(median(times))} {self.unit}".rstrip() + spread


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def seconds(run: Run) -> float:
    start = perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter() - start


def turns(ours: Run, theirs: Run, n: int) -> tuple[list[float], list[float]]:
    """Seconds of both, n times in turns, after one turn that does not count."""
    pairs = [(seconds(ours), seconds(theirs)) for _ in range(n + 1)][1:]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def table(lines: Sequence[Line]) -> str:
    head = ("this", "that", "this takes", "that takes", "that / this", "n", "")
    rows = [head, ("---",) * len(head), *(line.cells() for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def hardware() -> str:
    """One line: processor, cores, versions."""
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        names = [
            line.split(":", 1)[1] for line in information.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0].strip() if names else model
    if torch.cuda.is_available():
        model = f"{model}, {torch.cuda.get_device_name()}"
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "optuna"))
    return f"{os.cpu_count()} cores of {model}; Python {platform.python_version()}, {versions}"
