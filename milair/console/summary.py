"""The state of a study, and what a search would be: JSON for programs, text for people."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.samplers import RandomSampler
from rich.console import Group, RenderableType
from rich.text import Text

from milair.console.options import program
from milair.console.table import table
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
    study: optuna.Study, location: str, split: Split | None, waiting_for: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """The state of a study as plain JSON; "chance_baseline" is None where its frames are gone."""
    trials = study.get_trials(deepcopy=False)
    return {
        "study": study.study_name,
        "storage": location,
        "state": state(study),
        "goal": study.user_attrs.get(GOAL),
        "finished": len(finished(study)),
        "trials": dict(Counter(trial.state.name.lower() for trial in trials)),
        "chance_baseline": None if split is None else metrics.learned_nothing(split),
        "best": [
            {
                "trial": trial.number,
                "score": trial.value,
                **{name: trial.user_attrs[name] for name in ("iou", "accuracy", "epoch")},
                "parameters": trial.user_attrs["parameters"]["total"],
                "seconds": trial.user_attrs["seconds"],
                "heads": describe(trial.user_attrs["recipe"], trial.params),
                "recipe": trial.user_attrs["recipe"],
            }
            for trial in ranked(study)[:_TOP]
        ],
        "trouble": [
            {"trial": trial.number, "state": trial.state.name.lower(), "reason": trial.user_attrs["error"]}
            for trial in trials
            if trial.user_attrs.get("error")
        ],
        "waiting_for": list(waiting_for),
    }


def waiting_for(space: Space, setup: Setup) -> list[dict[str, Any]]:
    """Backbones without weights: the file that each waits for, and how many published recipes wait with it."""
    recipes = Counter(parameters.get("backbone") for parameters in published(space)) if space.runs else Counter()
    return [
        {"backbone": name, "file": str(file), "recipes": recipes[name]}
        for name, file in setup.settings.lacking().items()
    ]


def text(result: Mapping[str, Any], places: Sequence[str], models: Path, pictures: Path | None) -> RenderableType:
    """A summary for people: the best trials beside the chance baseline, what went wrong, and what to run next.

    `places` are options by which the next commands find the study, `models` is where they keep models, `pictures`
    a folder to predict on."""
    states = ", ".join(f"{count} {state}" for state, count in result["trials"].items())
    lines: list[RenderableType] = ["", f"{result['study']}: {states}"]
    if result["best"]:
        shown = ("trial", "score", "iou", "accuracy", "epoch")
        lines.append(
            table(
                [
                    {name: row[name] for name in shown}
                    | {"parameters": f"{row['parameters'] / 1e6:.2f} M", "time": duration(row["seconds"])}
                    | {"recipe": row["heads"]}
                    for row in result["best"]
                ]
            )
        )
    if (chance := result["chance_baseline"]) is not None:
        lines.append(f"chance baseline: {chance:.4f} (majority class, mean box)")
    if result["trouble"]:
        trials: dict[tuple[str, str], list[str]] = {}
        for row in result["trouble"]:
            trials.setdefault((row["state"], row["reason"]), []).append(str(row["trial"]))
        lines += ["", "trouble"]
        lines += [f"  {state} {', '.join(numbers)}: {reason}" for (state, reason), numbers in trials.items()]
    if result["waiting_for"]:
        lines += ["", "waiting for weights; the same command draws them once the file is there"]
        for row in result["waiting_for"]:
            recipes = f" ({row['recipes']} published recipe{'s' * (row['recipes'] > 1)})" * (row["recipes"] > 0)
            lines.append(f"  {row['backbone']:<18} {row['file']}{recipes}")
    if result["best"]:
        lines += ["", "next"]
        for command in next_commands(result, places, models, pictures):
            lines.append(Text(f"  {command}", no_wrap=True, overflow="ignore"))  # to be copied as it stands
    return Group(*lines)


def next_commands(result: Mapping[str, Any], places: Sequence[str], models: Path, pictures: Path | None) -> list[str]:
    """Commands that work as they stand: train the best trial again, predict with it, look at the study."""
    python, study = program("python"), result["study"]
    model = model_folder(models, study, result["best"][0]["trial"])
    commands: list[list[object]] = [[python, "-m", "milair.retrain", "--study", study, *places]]
    if pictures is not None:
        commands += [[python, "-m", "milair.predict", model, pictures, "--draw", model / "drawn"]]
    commands += [[program("optuna-dashboard"), result["storage"]]]
    return [shlex.join(map(str, command)) for command in commands]


def model_folder(models: Path, study: str, trial: int) -> Path:
    """Where the model of a trial is kept."""
    return models / f"{study}-{trial}"


def dimensions(domains: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a space varies, a line each, from the JSON that studies store."""
    lines = []
    for name, domain in domains.items():
        if "choices" in domain:
            values = ", ".join(map(str, domain["choices"]))
        else:
            low, high = domain.get("int") or domain["float"]
            step = f" by {domain['step']}" if domain["step"] not in (None, 1) else ""
            values = f"{low} to {high}{step}{', log scale' if domain['log'] else ''}"
        lines.append(f"  {name:<18} {values}")
    return lines


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
