"""`python -m milair.retrain`: train a trial of a study again, by the same code and seed, and keep the model."""

from __future__ import annotations

import argparse
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milair import __version__
from milair.console.command import command, leave
from milair.console.options import add_places, parser, storage_url, whole
from milair.errors import MilairError, UsageError

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

    from milair.console.progress import Progress
    from milair.recipe import Recipe
    from milair.study.session import Setup
    from milair.training.metrics import Metrics


def arguments() -> argparse.ArgumentParser:
    made = parser(
        "retrain",
        "Train the best trial of a study again and save the model; its metrics come out as they did in the search.",
        "python -m milair.retrain --study heads@frames --seeds 3",
    )
    made.add_argument("--study", required=True, metavar="NAME", help="heads@frames, or heads if there is only one")
    made.add_argument("--trial", default="best", metavar="best|N", help="default: best")
    made.add_argument(
        "--on", choices=("train", "all"), default="train", help="learn from the validation frames as well"
    )
    made.add_argument("--seeds", type=whole(1), default=1, metavar="N", help="train N times and show the spread")
    made.add_argument("--out", type=Path, metavar="DIR", help="default: models/NAME-TRIAL in --studies")
    made.add_argument("--data", metavar="DIR", help="where the frames lie now, if they moved")
    made.add_argument("--weights", metavar="W", help="where the weights lie now, if they moved: imagenet, FILE or DIR")
    add_places(made)
    return made


@dataclass(frozen=True, slots=True)
class Trained:
    recipe: Recipe
    epoch: int
    metrics: Metrics
    state: dict[str, Any]  # of the heads, at that epoch
    then: Metrics | None  # the best so far after as many epochs as the trial had: one that was pruned had fewer


@command(arguments)
def main(options: argparse.Namespace, console: Progress) -> None:
    from milair.console import summary
    from milair.recipe import Recipe
    from milair.study import storage
    from milair.study.session import TRAINING
    from milair.training import devices

    if options.on == "all" and options.seeds > 1:
        raise UsageError("--seeds compares validation scores, and --on all leaves none to compare")
    found = storage.load_study(storage.open_storage(storage_url(options), create=False), options.study)
    trial = _pick(found, options.trial)
    setup = _setup(found, options, console)
    recipe = Recipe.from_json(trial.user_attrs["recipe"])
    console.say(f"milair {__version__}, trial {trial.number} of {found.study_name} (score {trial.value:.4f})")
    if setup.settings.training != TRAINING:
        console.say(
            f"the study's numerics of training are {setup.settings.training}, now {TRAINING}: its scores do not repeat"
        )
    if options.on == "all":
        epoch = trial.user_attrs["epoch"]  # nothing is held back to tell when to stop: stop where the trial was best
        recipe, setup = replace(recipe, epochs=epoch, patience=epoch), setup.on_all_frames()
    if setup.bank(recipe).weights != trial.user_attrs["weights"]:
        raise MilairError(f"the weights of {recipe.backbone} are not those of the trial; see --weights")
    runs = []
    with devices.with_threads(trial.user_attrs["device"]["threads"]):
        for seed in range(recipe.seed, recipe.seed + options.seeds):
            seeded = replace(recipe, seed=seed)
            runs.append(_train(seeded, setup, console, trial.user_attrs["epochs"], options.on == "all"))
            console.say(_line(runs[-1]) if options.on == "train" else f"seed {seed}: trained on all frames")
    if options.on == "train":
        console.say(_compare(trial, runs))
    out = options.out or summary.model_folder(options.studies / "models", found.study_name, trial.number)
    _save(out, runs[0], setup, found, trial, options.on)
    console.say(f"model of seed {recipe.seed} saved in {out}")


def _train(recipe: Recipe, setup: Setup, console: Progress, epochs: int, last: bool) -> Trained:
    """Train a recipe and keep the heads of its best epoch, or of its last one."""
    from milair.training.train import train

    kept, then = None, None
    for epoch in train(recipe, setup.bank(recipe), setup.device):
        console.advance(f"seed {recipe.seed}", epoch.number, recipe.epochs, epoch.score)
        if epoch.number == epochs:
            then = epoch.best
        if epoch.improved or last:
            kept = Trained(recipe, epoch.number, epoch.val, deepcopy(epoch.heads.state_dict()), None)
    assert kept is not None  # the first epoch always improves
    return replace(kept, then=then)


def _pick(found: optuna.Study, which: str) -> FrozenTrial:
    """The trial meant: the best complete one, or the one of that number if it was trained."""
    from milair.study.results import ranked

    trials = found.get_trials(deepcopy=False)
    if which == "best":
        best = ranked(found)
        if not best:
            raise MilairError(f"study {found.study_name} has no complete trial yet; a search makes some")
        return best[0]
    if not which.isdecimal():
        raise UsageError(f"--trial {which}: it must be 'best' or a number")
    if int(which) >= len(trials):
        raise MilairError(f"--trial {which}: study {found.study_name} has trials 0 to {len(trials) - 1}")
    trial = trials[int(which)]
    if trial.value is None or "epoch" not in trial.user_attrs:
        raise MilairError(f"--trial {which}: that trial is {trial.state.name.lower()} and was never trained to a score")
    return trial


def _setup(found: optuna.Study, options: argparse.Namespace, console: Progress) -> Setup:
    """The study's setup; frames that are not those it was searched on are refused."""
    from milair.study import results as study
    from milair.study import session as setup

    settings = study.stored_settings(found)
    data = setup.data_place(options.data) if options.data else settings.data
    settings = replace(settings, data=data, source=options.weights or settings.source)
    frames = setup.read_frames(settings.data, settings.objects, console.advance)
    settings.refuse_difference(setup.same_settings(settings, frames), found.study_name)
    return setup.open_setup(settings, frames, options.devices, options.bank, console)


def _line(run: Trained) -> str:
    metrics = run.metrics
    return (
        f"seed {run.recipe.seed}: score {metrics.score:.4f}, IoU {metrics.iou:.4f}, accuracy {metrics.accuracy:.4f}, "
        f"loss {metrics.loss:.4f} at epoch {run.epoch}"
    )


def _compare(trial: FrozenTrial, runs: list[Trained]) -> str:
    """How near the first run came to the trial, and the spread over seeds."""
    from statistics import mean, stdev

    first = (runs[0].then or runs[0].metrics).to_json()
    difference = max(abs(first[name] - trial.user_attrs[name]) for name in first)
    lines = [f"largest difference from the trial's own metrics: {difference:.1e}"]
    if len(runs) > 1:
        scores = [run.metrics.score for run in runs]
        lines.append(f"score over {len(runs)} seeds: mean {mean(scores):.4f}, standard deviation {stdev(scores):.4f}")
    return "\n".join(lines)


def _save(out: Path, run: Trained, setup: Setup, found: optuna.Study, trial: FrozenTrial, on: str) -> None:
    from milair.model import backbones
    from milair.model import detector as checkpoint

    bank = setup.bank(run.recipe)
    detector = checkpoint.Detector(run.recipe, bank.classes, bank.mean, bank.std)
    if run.recipe.weights == "pretrained":
        state = backbones.load_state(run.recipe.backbone, setup.settings.source)
        detector.backbone = backbones.build(run.recipe.backbone, run.recipe.pooling, state)
    detector.heads.load_state_dict(run.state)
    about = {
        "study": found.study_name,
        "trial": trial.number,
        "trained_on": on,
        "epoch": run.epoch,
        "validation": run.metrics.to_json() | {"score": run.metrics.score} if on == "train" else None,
        "frames": {"fingerprint": setup.settings.fingerprint, "count": len(setup.frames.labelled)},
    }
    checkpoint.save(out, detector, about)


if __name__ == "__main__":
    leave(main())
