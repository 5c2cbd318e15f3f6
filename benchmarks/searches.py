"""Whole searches from an empty cache, against what the same trainings take in a loop without a bank.

The loop's time is that of the search's own epochs, and for each view that they drew, and each validation picture, what
the loop takes longer in an epoch of one recipe: hours that nobody has to wait for. Its scores would be the search's, as
it trains the same recipes.
"""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from os import environ
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory
from time import perf_counter, sleep

import optuna
import torch
import trial
from lines import Line, seconds
from optuna.trial import TrialState

from milair.frames.frame import Split
from milair.study.results import recipe_of
from milair.study.session import read_frames
from milair.study.settings import SAMPLE
from milair.training.train import train

ROOT = Path(__file__).resolve().parent.parent
Trials = Sequence[optuna.trial.FrozenTrial]
GOAL = 0.8218  # the document's best, on its own 48 validation frames


def without_first(folder: Path, seed: int) -> Path:
    """The spaces, with a `beyond` that trains nothing first but what a random sampler draws from it."""
    spaces = copytree(ROOT / "search_spaces", folder / "search_spaces")
    text = (spaces / "beyond.py").read_text()
    references = "REFERENCES = [heads.BASELINE]  # the document's best\n"
    assert references in text
    assert "\nBASELINE = looks.BASELINE\n" in text
    text = (
        text.replace(references, "").replace("\nBASELINE =", "\nSTART =").replace("        BASELINE,", "        START,")
    )
    text = text.replace("[BASELINE.crop_size]", "[START.crop_size]").replace(
        "import dense, heads, looks", "import dense, looks"
    )
    drawn = f"optuna.create_study(sampler=optuna.samplers.RandomSampler(seed={seed})).ask()"
    (spaces / "beyond.py").write_text(f"{text}\n\nimport optuna\n\nBASELINE = space({drawn})\n")
    return spaces


def search(folder: Path, *words: str, until: float = 1.0) -> tuple[float, Trials]:
    """Seconds of a search from an empty cache, or until a complete trial has a score; its finished trials."""
    command = [sys.executable, "-m", "milair.search", "--studies", str(folder), *words, "--split", "stratified"]
    storage, began = f"sqlite:///{folder / 'milair.db'}", perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env=environ | {"MILAIR_CACHE": str(folder / "cache")}, stdout=subprocess.DEVNULL
    )
    done: Trials = []
    try:
        while process.poll() is None:
            sleep(0.5)
            with suppress(Exception):  # there is no study yet
                (name,) = optuna.get_all_study_names(storage)
                done = optuna.load_study(study_name=name, storage=storage).get_trials(
                    deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)
                )
                if any(one.state == TrialState.COMPLETE and (one.value or 0) >= until for one in done):
                    break
        taken = perf_counter() - began
    finally:
        process.terminate()
        process.wait()
    assert done, "the search came to nothing"
    return taken, done


def in_a_loop(trials: Trials, parts: Split, view: float) -> float:
    """Seconds of the epochs of trials where each view costs so much more than features do."""
    taken = 0.0
    for one in trials:
        recipe = recipe_of(one)
        assert recipe is not None
        views = len(parts.train) * recipe.augmentations + len(parts.val)
        taken += one.user_attrs["seconds"] + one.user_attrs["epochs"] * views * view
    return taken


def study(data: str, weights: str, n: int) -> Iterator[Line]:
    """A cold study of six trials: what fits in half an hour of the best loop."""
    yield from _against("a cold study of `heads`, 6 trials", n, data, weights, ["--study", "heads", "--trials", "6"])


def result(data: str, weights: str, n: int) -> Iterator[Line]:
    """From an empty cache to the document's best score, without being told its recipe."""
    words = ["--study", "beyond", "--trials", "200", "--timeout", "1200"]
    yield from _against(f"`beyond` from nothing to {GOAL}", n, data, weights, words, until=GOAL)


def _against(
    what: str, n: int, data: str, weights: str, words: Sequence[str], until: float | None = None
) -> Iterator[Line]:
    """A search by each of n seeds, against what its epochs cost in the two loops; `until` leaves out first recipes."""
    parts, costs = loop_costs(data, weights)
    given = ["--data", data, "--weights", weights] if data != SAMPLE else []
    found = []
    for seed in range(n):
        with TemporaryDirectory() as made:
            folder = Path(made)
            spaces = ["--spaces", str(without_first(folder, seed))] if until else []
            wall, trials = search(folder, *words, *spaces, *given, "--seed", str(seed), until=until or 1.0)
        found.append((wall, trials))
        best = max(one.value or 0 for one in trials)
        print(f"{what}, seed {seed}: {wall:.0f} s, {len(trials)} trials, best {best:.4f}", flush=True)
    walls = [wall for wall, _ in found]
    for loop, cost in zip(("the loop as people write it", "the best loop without a bank"), costs, strict=True):
        yield Line(what, loop, walls, [in_a_loop(done, parts, cost) for _, done in found], note="calculated")


def loop_costs(data: str, weights: str) -> tuple[Split, list[float]]:
    """The frames' split, and the seconds that each loop takes longer for a view than an epoch on a bank."""
    recipe, frames = trial.recipe_for(weights), read_frames(data)
    with TemporaryDirectory() as folder:
        parts, bank = trial.opened(recipe, frames, weights, folder, "cpu", views=recipe.augmentations)
        loops = trial.loops(recipe, parts, bank, weights)
        views = len(parts.train) * recipe.augmentations + len(parts.val)
        epochs = train(recipe, bank, torch.device("cpu"))
        next(epochs)
        ours = seconds(lambda: next(epochs))
        return parts, [(seconds(loop.epoch) - ours) / views for loop in loops]
