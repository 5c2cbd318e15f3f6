"""What Ray costs: a search by two workers of a Ray cluster on this machine against the same one by two processes, and
how long the first epoch takes on a cluster that has just been started.

    .venv/bin/python benchmarks/cluster.py --data DIR --weights DIR     (needs milair[ray])

The baseline with so many seeds, one thread each, none pruned; the bank is built before. With --epochs 1 a trial on 189
frames takes some ten seconds. In turns; each time is from the first trial's start to the last one's end. The first
epoch of a fresh cluster (goal: within 25 s) counts from the command on: its head runs, the bank is there, no worker is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from datetime import datetime
from pathlib import Path
from statistics import median

import optuna
from commands import SPACE
from ray.cluster_utils import Cluster

from milair.study import storage


def search(folder: Path, name: str, trials: int, more: list[str]) -> tuple[float, float, float]:
    """Seconds from the command to its first trial and from there to the first epoch's report; all trials' seconds."""
    command = [sys.executable, "-m", "milair.search", "--study", "seeds", "--name", name, "--spaces", str(folder)]
    command += ["--studies", str(folder), "--trials", str(trials), "--sampler", "random", "--pruner", "none"]
    began = datetime.now()
    subprocess.run([*command, *more], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    study = storage.load_study(storage.open_storage(storage.default_url(folder)), name)
    starts = [trial.datetime_start for trial in study.trials if trial.datetime_start]
    ends = [trial.datetime_complete for trial in study.trials if trial.datetime_complete]
    first = (min(starts) - began).total_seconds()
    return first, (min(ends) - min(starts)).total_seconds(), (max(ends) - min(starts)).total_seconds()


def started() -> Cluster:
    return Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})


def main() -> None:
    parser = ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    more = ["--data", options.data, "--weights", options.weights, "--split", "stratified"]
    more += ["--epochs", str(options.epochs)]
    fresh = list[float]()
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "seeds.py").write_text(SPACE)
        search(folder, "bank", 1, [*more, "--devices", "cpu"])
        for turn in range(options.turns):
            cluster = started()
            ray_only = ["--engine", "ray", "--address", cluster.address, "--epochs", "1"]
            start, one, _ = search(folder, f"fresh-{turn}", 1, [*more, *ray_only])
            cluster.shutdown()
            fresh.append(start + one)
            print(f"fresh cluster: starts after {start:.1f} s, first epoch after {fresh[-1]:.1f} s")
        cluster = started()
        engines = {"local": ["--devices", "cpu,cpu"], "ray": ["--engine", "ray", "--address", cluster.address]}
        times: dict[str, list[float]] = {name: [] for name in engines}
        for turn in range(options.turns):
            for name, own in engines.items():
                start, one, all_ = search(folder, f"{name}-{turn}", options.trials, [*more, *own])
                times[name].append(all_)
                print(f"{name}: starts after {start:.1f} s, first trial {one:.1f} s, all {all_:.1f} s")
    cluster.shutdown()
    local, ray = (median(times[name]) for name in engines)
    print(
        f"from the command to the first epoch on a fresh cluster: median {median(fresh):.1f} s, most {max(fresh):.1f} s"
    )
    print(f"medians of {options.turns}: local {local:.1f} s, Ray {ray:.1f} s: {ray / local - 1:+.1%}")


if __name__ == "__main__":
    main()
