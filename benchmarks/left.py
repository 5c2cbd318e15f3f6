"""How wrong the time left is, half-way: what searches say after half of their trials, and what they then take.

    .venv/bin/python benchmarks/left.py --searches 10 --trials 12

They search drawn frames, few and small: what is asked is the estimate, not the score.
"""

import re
import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter

from milair.frames import sample

SECONDS = {"s": 1, "min": 60, "h": 3600}


def said_and_true(folder: Path, trials: int, seed: int) -> tuple[float, float]:
    """Seconds that a search says are left after half of its trials, and those that it then takes to its last trial."""
    command = [sys.executable, "-m", "milair.search", "--study", "dense", "--name", f"seed-{seed}"]
    command += ["--studies", str(folder), "--data", str(folder / "frames"), "--weights", "random"]
    command += ["--trials", str(trials), "--seed", str(seed), "--set", "image_size=160x90"]
    said, then, last = 0.0, 0.0, 0.0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = 0
        for line in process.stdout:
            if found := re.match(r" +\d+ .*?(?:complete|pruned|begun) .* (\d[\d.]*) (s|min|h)  ", line):
                lines, last = lines + 1, perf_counter()
                if lines == trials // 2:
                    said, then = float(found[1]) * SECONDS[found[2]], last
    assert process.returncode == 0
    return said, last - then


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--searches", type=int, default=10)
    parser.add_argument("--trials", type=int, default=12)
    options = parser.parse_args()
    errors = []
    with TemporaryDirectory() as made:
        folder = Path(made)
        sample.write(folder / "frames", labelled=60, unlabelled=0)
        for seed in range(options.searches):
            said, true = said_and_true(folder, options.trials, seed)
            errors.append(abs(said - true) / true)
            print(f"search {seed}: said {said:.0f} s, took {true:.0f} s", flush=True)
    print(
        f"error half-way: median {median(errors):.0%}, from {min(errors):.0%} to {max(errors):.0%} (n = {len(errors)})"
    )


if __name__ == "__main__":
    main()
