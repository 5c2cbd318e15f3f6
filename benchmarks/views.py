"""How many views a bank needs: the score of one recipe with 6, 12, 24 and 48 of them, the same seeds each.

    .venv/bin/python benchmarks/views.py --data DIR --weights DIR --studies DIR

Each number of views is a study, so that what is cut off goes on. The recipe is the baseline of `dense`, six views an
epoch, with ImageNet's normalisation: one bank then serves all numbers.
"""

import subprocess
import sys
from argparse import ArgumentParser
from pathlib import Path
from shutil import copytree
from statistics import mean, stdev

import optuna

SPACE = '''"""How many views does a bank need?"""
from dataclasses import replace
from search_spaces.dense import BASELINE as DENSE

BASELINE = replace(DENSE, augmentations=6, normalisation="imagenet")

def space(trial):
    return replace(BASELINE, seed=trial.suggest_int("seed", 32, 1000))
'''


def written(folder: Path) -> Path:
    """The spaces, with this one beside them."""
    spaces = copytree(Path(__file__).parent.parent / "search_spaces", folder / "search_spaces", dirs_exist_ok=True)
    (spaces / "views.py").write_text(SPACE)
    return spaces


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--studies", type=Path, required=True)
    parser.add_argument("--views", type=int, nargs="+", default=[6, 12, 24, 48])
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    spaces = written(options.studies)
    for views in options.views:
        command = [sys.executable, "-m", "milair.search", "--study", "views", "--spaces", str(spaces)]
        command += ["--studies", str(options.studies), "--name", f"views-{views}", "--views", str(views), "--sampler"]
        command += ["random", "--pruner", "none", "--split", "stratified", "--trials", str(options.seeds), "--devices"]
        command += ["cpu", "--data", options.data, "--weights", options.weights]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        study = optuna.load_study(study_name=f"views-{views}", storage=f"sqlite:///{options.studies / 'milair.db'}")
        scores = [trial.value for trial in study.trials if trial.value is not None]
        print(f"{views:>3} views: {mean(scores):.4f} ± {stdev(scores):.4f} (n = {len(scores)})", flush=True)


if __name__ == "__main__":
    main()
