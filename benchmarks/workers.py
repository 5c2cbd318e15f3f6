"""Two workers with one thread each against one worker with one thread: the same study, from start to summary.

    .venv/bin/python benchmarks/workers.py --data DIR --weights DIR

Eight trainings of the baseline with eight seeds, six epochs each, none pruned; the bank is built before. The times
are those of the whole command, start-up included.

Measured before workers only trained, on the competition's 189 frames with ImageNet weights, two cores, torch 2.15, with
`--trials 4 --epochs 4`: 159 s and 93 s, 1.70 times as fast.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

SPACE = '''"""How much does the seed matter?"""
from dataclasses import replace
from milair import Recipe

BASELINE = Recipe(normalisation="data")

def space(trial):
    return replace(BASELINE, seed=trial.suggest_int("seed", 32, 1000))
'''


def search(folder: Path, name: str, devices: str, trials: int, epochs: int, more: list[str]) -> float:
    """Seconds of a search on these devices, a thread for each worker."""
    command = [sys.executable, "-m", "milair.search", "--study", "seeds", "--name", name, "--spaces", str(folder)]
    command += ["--studies", str(folder), "--devices", devices, "--trials", str(trials), "--epochs", str(epochs)]
    command += ["--sampler", "random", "--pruner", "none", "--set", "patience=100", *more]
    start = perf_counter()
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    return perf_counter() - start


def main() -> None:
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("--data", help="default: the built-in sample")
    made.add_argument("--weights", help="default: imagenet, or random for the sample")
    made.add_argument("--trials", type=int, default=8)
    made.add_argument("--epochs", type=int, default=6)
    options = made.parse_args()
    more = ["--data", options.data] if options.data else []
    more += ["--weights", options.weights] if options.weights else []
    with tempfile.TemporaryDirectory() as made_here:
        folder = Path(made_here)
        (folder / "seeds.py").write_text(SPACE)
        search(folder, "bank", "cpu", 1, 1, more)
        one = search(folder, "one", "cpu", options.trials, options.epochs, more)
        two = search(folder, "two", "cpu,cpu", options.trials, options.epochs, more)
    print(f"one worker {one:.0f} s, two workers {two:.0f} s: {one / two:.2f} times as fast")


if __name__ == "__main__":
    main()
