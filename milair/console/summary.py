"""What a search has found, and what it would search: text for people, JSON for programs."""

from __future__ import annotations

import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import torch
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

from milair.console.cli import shown
from milair.features.bank import Bank, Part
from milair.frames.frame import Split
from milair.model import backbones, heads
from milair.recipe import Recipe, describe
from milair.space import Space
from milair.study.results import GOAL, duration, finished, published, ranked, state
from milair.study.session import Setup
from milair.training import metrics
from milair.training.train import train

_TOP = 5


def summary(
    study: optuna.Study, location: str, split: Split | None, waiting_for: list[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """The state of a study as plain JSON; "learned_nothing" is None where its frames are gone."""
    trials = study.get_trials(deepcopy=False)
    return {
        "study": study.study_name,
        "storage": location,
        "state": state(study),
        "goal": study.user_attrs.get(GOAL),
        "finished": len(finished(study)),
        "trials": dict(Counter(trial.state.name.lower() for trial in trials)),
        "learned_nothing": None if split is None else metrics.learned_nothing(split),
        "best": [_row(trial) for trial in ranked(study)[:_TOP]],
        "trouble": [
            {"trial": trial.number, "state": trial.state.name.lower(), "reason": trial.user_attrs["error"]}
            for trial in trials
            if trial.user_attrs.get("error")
        ],
        "waiting_for": waiting_for or [],
    }


def waiting_for(space: Space, setup: Setup) -> list[dict[str, Any]]:
    """Backbones without weights: the file that each waits for, and how many published recipes wait with it."""
    recipes = Counter(parameters.get("backbone") for parameters in published(space)) if space.first else Counter()
    return [
        {"backbone": name, "file": str(file), "recipes": recipes[name]}
        for name, file in setup.settings.lacking().items()
    ]


def text(found: dict[str, Any], places: list[str], models: Path, pictures: Path | None) -> str:
    """The table of the best trials, the score of having learned nothing, and what to run next."""
    states = ", ".join(f"{count} {state}" for state, count in found["trials"].items())
    lines = ["", f"{found['study']}: {states}"]
    if found["best"]:
        table = pd.DataFrame(found["best"])
        table["parameters"] = [f"{count / 1e6:.2f} M" for count in table["parameters"]]
        table["time"] = [duration(seconds) for seconds in table["seconds"]]
        columns = ["trial", "score", "iou", "accuracy", "epoch", "parameters", "time", "heads"]
        lines += [table.to_string(columns=columns, index=False, float_format="{:.4f}".format)]
    if found["learned_nothing"] is not None:
        lines += [
            f"score of having learned nothing: {found['learned_nothing']:.4f} (the most frequent class, the mean box)"
        ]
    if found["trouble"]:
        lines += ["", "trouble", *_trouble(found["trouble"])]
    if found["waiting_for"]:
        lines += [
            "",
            "waiting for weights; the same command draws them once the file is there",
            *_waiting(found["waiting_for"]),
        ]
    if found["best"]:
        lines += ["", "next"] + [f"  {command}" for command in next_commands(found, places, models, pictures)]
    return "\n".join(lines)


def next_commands(found: dict[str, Any], places: list[str], models: Path, pictures: Path | None) -> list[str]:
    """Commands that work as they stand: train the best trial again, predict with it, look at the study."""
    python, study = shown("python"), found["study"]
    model = model_folder(models, study, found["best"][0]["trial"])
    commands: list[list[object]] = [[python, "-m", "milair.retrain", "--study", study, *places]]
    if pictures is not None:
        commands += [[python, "-m", "milair.predict", model, pictures, "--draw", model / "drawn"]]
    commands += [[shown("optuna-dashboard"), found["storage"]]]
    return [shlex.join(map(str, command)) for command in commands]


def model_folder(models: Path, study: str, trial: int) -> Path:
    """Where the model of a trial is kept."""
    return models / f"{study}-{trial}"


def dimensions(space: dict[str, Any]) -> list[str]:
    """What a space varies, a line each."""
    return [f"  {name:<18} {_domain(domain)}" for name, domain in space.items()]


def dry_run(space: Space, setup: Setup, seed: int) -> str:
    """A space's dimensions, one recipe drawn from it, and what that would cost; a few steps are timed, none kept."""
    lines = ["", space.question, "", "dimensions", *dimensions(space.dimensions())]
    trial = optuna.create_study(sampler=RandomSampler(seed=seed)).ask()
    recipe = setup.recipe(space(trial))
    lines += ["", "one recipe of it"] + [f"  {name:<18} {value}" for name, value in recipe.to_json().items()]
    size = heads.size(recipe, len(setup.frames.classes))
    shape, _ = backbones.measure(recipe.backbone, recipe.pooling, recipe.size)
    bank, training = setup.bank_bytes(recipe), heads.training_bytes(recipe, len(setup.frames.classes))
    epoch = _epoch_seconds(recipe, setup, shape)
    lines += [
        "",
        "its cost",
        f"  {'parameters':<18} {size.total:,} of which {size.trainable:,} are trained ({size.megabytes:.1f} MB)",
        f"  {'memory':<18} {bank / 1e6:.0f} MB of features, {training / 1e6:.0f} MB to train the heads",
        f"  {'time':<18} {epoch:.2f} s an epoch on {setup.device}: "
        f"{duration(epoch * recipe.epochs)} for {recipe.epochs}, less where patience or pruning ends it",
    ]
    return "\n".join(lines)


def _row(trial: FrozenTrial) -> dict[str, Any]:
    kept = trial.user_attrs
    return {
        "trial": trial.number,
        "score": trial.value,
        "iou": kept["iou"],
        "accuracy": kept["accuracy"],
        "epoch": kept["epoch"],
        "parameters": kept["parameters"]["total"],
        "seconds": kept["seconds"],
        "heads": describe(kept["recipe"], trial.params),
        "recipe": kept["recipe"],
    }


def _trouble(found: list[dict[str, Any]]) -> list[str]:
    """A line a reason, with the trials that met it."""
    trials: dict[tuple[str, str], list[str]] = {}
    for row in found:
        trials.setdefault((row["state"], row["reason"]), []).append(str(row["trial"]))
    return [f"  {state} {', '.join(numbers)}: {reason}" for (state, reason), numbers in trials.items()]


def _waiting(found: list[dict[str, Any]]) -> list[str]:
    """A line a backbone."""
    return [
        f"  {row['backbone']:<18} {row['file']}"
        + (f" ({row['recipes']} published recipe{'s' * (row['recipes'] > 1)})" if row["recipes"] else "")
        for row in found
    ]


def _domain(domain: dict[str, Any]) -> str:
    if "choices" in domain:
        return ", ".join(str(choice) for choice in domain["choices"])
    low, high = domain.get("int") or domain["float"]
    step = f" by {domain['step']}" if domain["step"] not in (None, 1) else ""
    return f"{low} to {high}{step}{', log scale' if domain['log'] else ''}"


def _epoch_seconds(recipe: Recipe, setup: Setup, shape: tuple[int, int, int]) -> float:
    """The second of two short epochs on made-up features, scaled to the length of a real one."""
    few = min(len(setup.split.train), 4 * recipe.batch_size)
    features = torch.randn(2, few, *shape, device=setup.device)
    seen = torch.ones(2, few, dtype=torch.bool, device=setup.device)
    labels = torch.arange(few, device=setup.device) % len(setup.frames.classes)
    part = Part(features, torch.rand(2, few, 4, device=setup.device), seen, labels)
    bank = Bank(part, part, setup.frames.classes, (), ())
    short = recipe.override({"augmentations": "1", "epochs": "2"})
    *_, last = train(short, bank, setup.device)
    return last.seconds / few * len(setup.split.train) * recipe.augmentations
