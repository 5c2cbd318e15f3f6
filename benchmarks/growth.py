"""What grows with pictures, views and stored trials: time and memory of much against so many times that of little."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import asking
import optuna
from lines import Line

PICTURES = 48, 192, 768
TRIALS = 10, 1_000, 10_000
ONE = """
import json, resource, sys, torch
from pathlib import Path
from lines import seconds
from milair.features.bank import open_bank
from milair.frames.sample import write
from milair.frames.folds import folds
from milair.frames.split import split
from milair.recipe import Recipe
from milair.study.session import read_frames
from milair.training.train import learn, new_heads
folder, count, views = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
write(folder / "data", count, 1)
frames = []
times = {"read": seconds(lambda: frames.append(read_frames(str(folder / "data"))))}
times["read again"] = seconds(lambda: read_frames(str(folder / "data")))
recipe, cpu = Recipe(weights="random", augmentations=views, normalisation="imagenet", epochs=2), torch.device("cpu")
parts, banks = split(frames[0].labelled), []
def opened():
    banks[:] = [open_bank(recipe, parts, frames[0].classes, frames=frames[0].labelled, views=views, source="random",
                          folder=folder / "banks", device=cpu)]
times["extract"] = seconds(opened)
times["open again"] = seconds(opened)
cut = folds(frames[0].labelled, 5)
def folded():
    for fold in cut:
        open_bank(recipe, fold, frames[0].classes, frames=frames[0].labelled, views=views, source="random",
                  folder=folder / "banks", device=cpu)
times["folds"] = seconds(folded)
epochs = learn(recipe, new_heads(recipe, banks[0], cpu)[0], banks[0].train, cpu)
next(epochs)
times["epoch"] = seconds(lambda: next(epochs))
times["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
print(json.dumps(times))
"""
WHAT = {
    "read": "reading and checking frames",
    "read again": "reading frames that were seen before",
    "extract": "extraction of a bank",
    "open again": "opening a warm bank",
    "epoch": "an epoch",
}


def measured(count: int, views: int) -> dict[str, float]:
    with TemporaryDirectory() as folder:
        words = [sys.executable, "-c", ONE, folder, str(count), str(views)]
        here = Path(__file__).parent
        path = {"PYTHONPATH": f"{here}:{here.parent}", "MILAIR_CACHE": f"{folder}/cache", "PATH": "/usr/bin:/bin"}
        times: dict[str, float] = json.loads(subprocess.run(words, env=path, check=True, capture_output=True).stdout)
        return times


def lines() -> Iterator[Line]:
    few, *more = (measured(count, 2) for count in PICTURES)
    for name, what in WHAT.items():
        for count, many in zip(PICTURES[1:], more, strict=True):
            times = count // PICTURES[0]
            yield Line(
                f"{times} x {what}, {PICTURES[0]} pictures", f"{count} pictures", [few[name] * times], [many[name]]
            )
    for count, many in zip(PICTURES[1:], more, strict=True):
        yield Line(f"memory with {PICTURES[0]} pictures", f"{count} pictures", [few["memory"]], [many["memory"]], "MB")
    twice = measured(PICTURES[0], 4)
    yield Line(
        "5 x opening a warm bank, 768 pictures", "of five folds", [more[-1]["open again"] * 5], [more[-1]["folds"]]
    )
    yield Line("2 x extraction of 2 views", "4 views", [few["extract"] * 2], [twice["extract"]])
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for count in TRIALS:
        bare, ours = asking.seconds(count, 7)
        yield Line(
            f"a draw of bare Optuna's TPE, {count} trials", "milair's draw", [bare], [ours], note="quickest of 7"
        )
