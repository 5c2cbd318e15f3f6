"""The state of a study, and what a search would be: JSON for programs, text for people."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from rich.console import Group, RenderableType
from rich.text import Text

from milair import recipe
from milair.console.options import program
from milair.console.table import table
from milair.frames.frame import Split
from milair.frames.split import describe as describe_split
from milair.study.queue import first
from milair.study.results import GOAL, duration, finished, ranked, state
from milair.study.session import Session
from milair.training.chance import chance_baseline

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
        "chance_baseline": None if split is None else chance_baseline(split),
        "best": [
            {
                "trial": trial.number,
                "score": trial.value,
                **{name: trial.user_attrs[name] for name in ("iou", "accuracy", "epoch")},
                "parameters": trial.user_attrs["parameters"]["total"],
                "seconds": trial.user_attrs["seconds"],
                "heads": recipe.describe(trial.user_attrs["recipe"], trial.params),
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


def describe(session: Session, devices: Sequence[str], threads: int) -> str:
    """The data, the weights and the devices of a search, in a few lines."""
    settings, baseline = session.settings, session.recipe(session.space.baseline)
    fixed = ", ".join(f"{path} {value}" for path, value in settings.overrides.items() if path != "weights")
    lines = [
        session.frames.describe(),
        describe_split(session.split, settings.split),
        f"weights  {'random (seeded)' if baseline.weights == 'random' else f'pretrained ({settings.source})'}",
        f"devices  {', '.join(devices)}; threads for each: {threads}",
    ]
    return "\n".join(lines + ([f"fixed    {fixed}"] if fixed else []))


def waiting_for(session: Session) -> list[dict[str, Any]]:
    """Backbones without weights: the file that each waits for, and how many of the first recipes wait with it."""
    recipes = Counter(point.get("backbone") for point in first(session.space) if session.space.first)
    return [
        {"backbone": name, "file": str(file), "recipes": recipes[name]}
        for name, file in session.settings.lacking().items()
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
            recipes = f" ({row['recipes']} first recipe{'s' * (row['recipes'] > 1)})" * (row["recipes"] > 0)
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
