"""What a search has found, and what it would search: text for people, JSON for programs."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial

from milair.console.cli import shown
from milair.frames import split
from milair.frames.frame import Split
from milair.recipe import describe as describe_recipe
from milair.study.queue import first
from milair.study.results import GOAL, duration, finished, ranked, state
from milair.study.session import Session
from milair.training.chance import chance_baseline

_TOP = 5


def summary(
    study: optuna.Study, location: str, val: Split | None, waiting_for: list[dict[str, Any]] | None = None
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
        "chance_baseline": None if val is None else chance_baseline(val),
        "best": [_row(trial) for trial in ranked(study)[:_TOP]],
        "trouble": [
            {"trial": trial.number, "state": trial.state.name.lower(), "reason": trial.user_attrs["error"]}
            for trial in trials
            if trial.user_attrs.get("error")
        ],
        "waiting_for": waiting_for or [],
    }


def describe(session: Session, devices: Sequence[str], threads: int) -> str:
    """The data, the weights and the devices of a search, in a few lines."""
    settings, baseline = session.settings, session.recipe(session.space.baseline) if session.space else None
    fixed = ", ".join(f"{path} {value}" for path, value in settings.overrides.items() if path != "weights")
    random = baseline is not None and baseline.weights == "random"
    lines = [
        session.frames.describe(),
        split.describe(session.split, settings.split),
        f"weights  {'random (seeded)' if random else f'pretrained ({settings.source})'}",
        f"devices  {', '.join(devices)}; threads for each: {threads}",
    ]
    return "\n".join(lines + ([f"fixed    {fixed}"] if fixed else []))


def waiting_for(session: Session) -> list[dict[str, Any]]:
    """Backbones without weights: the file that each waits for, and how many of the first recipes wait with it."""
    space = session.space
    recipes = Counter(point.get("backbone") for point in first(space)) if space and space.first else Counter()
    return [
        {"backbone": name, "file": str(file), "recipes": recipes[name]}
        for name, file in session.settings.lacking().items()
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
    if found["chance_baseline"] is not None:
        lines += [
            f"score of having learned nothing: {found['chance_baseline']:.4f} (the most frequent class, the mean box)"
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
        "heads": describe_recipe(kept["recipe"], trial.params),
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
