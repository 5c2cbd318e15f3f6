"""Commands as people start them: what a search costs besides its epochs, and two workers against one.

Nothing here is compared with another tool: each line holds a command against the part of it that has to be.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import optuna
from lines import Line, seconds

SPACE = '''"""How much does the seed matter?"""
from dataclasses import replace
from milair import Recipe

BASELINE = Recipe(normalisation="data", patience=100)

def space(trial):
    return replace(BASELINE, seed=trial.suggest_int("seed", 32, 1000))
'''
ROOT = Path(__file__).resolve().parent.parent


def command(*words: str, threads: int | None = None) -> float:
    """Seconds of a milair command."""
    own = {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    line = [sys.executable, "-m", *words]
    return seconds(lambda: subprocess.run(line, check=True, cwd=ROOT, env=os.environ | own, stdout=subprocess.DEVNULL))


def search(folder: Path, name: str, devices: str, trials: int, epochs: int, data: Sequence[str], threads: int) -> float:
    """Seconds of a search that trains one recipe with so many seeds, none of them pruned."""
    return command(
        *("milair.search", "--study", "seeds", "--name", name, "--spaces", str(folder), "--studies", str(folder)),
        *("--devices", devices, "--trials", str(trials), "--epochs", str(epochs), "--sampler", "random"),
        *("--pruner", "none", "--split", "stratified", *data),
        threads=threads,
    )


def lines(data: str, weights: str, n: int = 3) -> Iterator[Line]:
    more = ["--data", data, "--weights", weights] if data != "sample" else []
    bare = [command("milair.search", "--help") for _ in range(5)]
    yield Line("`python -m this`", "`milair.search --help`", [command("this") for _ in range(5)], bare)
    with TemporaryDirectory() as made_here:
        folder = Path(made_here)
        (folder / "seeds.py").write_text(SPACE)
        search(folder, "bank", "cpu", 1, 1, more, 2)
        whole = [search(folder, f"one-{number}", "cpu", 1, 25, more, 2) for number in range(n)]
        epochs, first = [], []
        for number in range(n):
            study = optuna.load_study(study_name=f"one-{number}", storage=f"sqlite:///{folder / 'milair.db'}")
            epochs.append(study.trials[0].user_attrs["seconds"])
            began, told = study.trials[0].datetime_start, study.trials[0].datetime_complete
            assert began is not None
            assert told is not None
            first.append((told - began).total_seconds())
        yield Line("its 25 epochs", "a trial from its start to its end", epochs, first)
        yield Line("its 25 epochs", "the whole command, one trial", epochs, whole)
        wide = [search(folder, f"wide-{number}", "cpu", 4, 6, more, 2) for number in range(n)]
        narrow = [search(folder, f"narrow-{number}", "cpu", 4, 6, more, 1) for number in range(n)]
        two = [search(folder, f"two-{number}", "cpu,cpu", 4, 6, more, 1) for number in range(n)]
        yield Line("two workers of a thread", "one worker of a thread", two, narrow, note="4 trials of 6 epochs")
        yield Line("two workers of a thread", "one worker of two threads", two, wide, note="4 trials of 6 epochs")
