"""All benchmarks, or those that are named, into benchmarks/results.md.

    make bench                      (or: make bench ARGS="trial commands --data DIR --weights DIR")

Each line holds two things against each other that were measured in this one run, in turns. Nothing else should run
meanwhile. On two cores trial, commands, growth and larger take a quarter of an hour, study and result half an hour.
`larger` takes most of the memory for a minute.
"""

import signal
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import commands
import growth
import ideas
import larger
import searches
import trial
from lines import Line, hardware, table

from milair.study.session import read_frames
from milair.study.settings import SAMPLE

RESULTS = Path(__file__).parent / "results.md"


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="trial, commands, growth, larger, ideas, study, result; default: all")
    parser.add_argument("--data", default=SAMPLE)
    parser.add_argument("--weights", default="random")
    parser.add_argument("--device", default="cpu", help="of trial and ideas; default: cpu")
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the searches that it began end with it
    measures: dict[str, Callable[[], Iterator[Line]]] = {
        "trial": lambda: trial.lines(read_frames(options.data), options.weights, options.turns, options.device),
        "commands": lambda: commands.lines(options.data, options.weights, options.turns),
        "growth": growth.lines,
        "ideas": lambda: ideas.lines(read_frames(options.data), options.weights, options.turns, options.device),
        "larger": lambda: larger.lines(options.turns),
        "study": lambda: searches.study(options.data, options.weights, options.turns),
        "result": lambda: searches.result(options.data, options.weights, options.turns),
    }
    unknown = set(options.names) - set(measures)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(measures)}")
    for name in options.names or measures:
        found = []
        for line in measures[name]():
            found.append(line)
            print(" | ".join(line.cells()), flush=True)
        drawn = options.data == SAMPLE or name in ("growth", "larger")
        on_gpu = name in ("trial", "ideas") and options.device != "cpu"
        place = f", {options.device}" if on_gpu else ""  # beside the CPU's
        write(name + place, found, "drawn" if drawn else "real frames")


def write(name: str, found: list[Line], data: str) -> None:
    """Put a table under its heading, where it takes the place of an older one."""
    about = f"{date.today()}, {hardware()}; {data}"
    sections = RESULTS.read_text().split("\n## ") if RESULTS.exists() else ["# Benchmarks\n"]
    section = f"{name}\n\n{about}\n\n{table(found)}\n"
    kept = [old for old in sections if old.split("\n", 1)[0] != name]
    RESULTS.write_text("\n## ".join([*(old.rstrip("\n") + "\n" for old in kept), section]))


if __name__ == "__main__":
    main()
