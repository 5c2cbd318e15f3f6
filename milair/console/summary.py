"""The state of a study, and what a search would be: JSON for programs, text for people."""

import shlex
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
from rich.console import Group, RenderableType
from rich.text import Text

from milair import recipe
from milair.console.options import place_options, program, where_options
from milair.console.table import table
from milair.frames import split as splits
from milair.study import arms, artifacts, duration, kept, limits, queue, results
from milair.study.session import Session
from milair.training.chance import chance_baseline
from milair.training.values import Needs

_TOP = 5


def summary(
    study: optuna.Study, location: str, session: Session | None, waiting_for: Sequence[dict[str, Any]] = ()
) -> dict[str, Any]:
    """The state of a study as plain JSON; "chance_baseline" is None where its frames are gone."""
    trials, ranking = study.get_trials(deepcopy=False), results.ranked(study)
    return {
        "study": study.study_name,
        "storage": location,
        "state": results.state(study),
        "goal": study.user_attrs.get(results.GOAL),
        "finished": len(results.counted(study)),
        "trials": dict(Counter(map(arms.state_name, trials))),
        "chance_baseline": None if session is None else chance_baseline(session.splits()),
        "best": [
            {
                "trial": trial.number,
                "score": arm.score,
                **{name: fmean(one.user_attrs[name] for one in arm.trials) for name in ("iou", "accuracy")},
                "trainings": len(arm.trials),
                "confirmed": arm.confirmed,
                "first_score": trial.value,
                "epoch": trial.user_attrs["epoch"],
                "parameters": kept.scalars(trial)["parameters"],
                "ms": trial.user_attrs.get("ms"),
                "seconds": trial.user_attrs["seconds"],
                "heads": recipe.describe(kept.trained(trial), trial.params),
                "recipe": kept.trained(trial),
            }
            for arm in ranking[:_TOP]
            for trial in arm.trials[:1]
        ],
        "interval": None if session is None else _interval(ranking, session),
        "no_best": None if ranking else results.why_none(study),
        "limits": study.user_attrs.get(results.SETTINGS, {}).get("limits", {}),
        "over_limits": [
            trial.number for trial in trials if trial.state.name == "COMPLETE" and not limits.within(trial)
        ],
        "trouble": [
            {"trial": trial.number, "state": trial.state.name.lower(), "reason": kept.error(trial)}
            for trial in trials
            if kept.error(trial)
        ],
        "waiting_for": list(waiting_for),
    }


def _interval(ranking: Sequence[arms.Arm], session: Session) -> dict[str, float] | None:
    """What to expect of the best arm elsewhere, in which interval with 95%, and of how many frames; None if its trials
    kept no outputs."""
    if (estimate := arms.expected(ranking, session.truth)) is None:
        return None
    frames = len(session.validation)
    return {"expected": estimate.value, "low": estimate.low, "high": estimate.high, "frames": frames}


def describe(session: Session, devices: str) -> str:
    """The data, the weights and the devices of a search, in a few lines."""
    settings, baseline = session.settings, session.recipe(session.space.baseline)
    fixed = ", ".join(f"{path} {value}" for path, value in settings.overrides.items() if path != "weights")
    lines = [
        session.frames.describe(),
        splits.describe(session.splits(baseline.seed), settings.split),
        f"weights  {'random (seeded)' if baseline.weights == 'random' else f'pretrained ({settings.source})'}",
        f"devices  {devices}",
        *([f"fixed    {fixed}"] if fixed else []),
        *([f"limits   {limits.shown(settings.limits)}"] if settings.limits else []),
    ]
    return "\n".join(lines)


def needs(needs: Needs, quota: float) -> str:
    """What the first recipe takes, in a line."""
    return (
        f"needs    {needs.features / 1e6:.0f} MB of features on disk, of {quota:g} GB for all, and "
        f"{needs.memory / 1e6:.0f} MB to train its heads"
    )


def waiting_for(session: Session) -> list[dict[str, Any]]:
    """Backbones without weights: the file that each waits for, and how many of the first recipes wait with it."""
    recipes = Counter(point.get("backbone") for point in queue.first(session.space) if session.space.first)
    return [
        {"backbone": name, "file": str(file), "recipes": recipes[name]}
        for name, file in session.settings.lacking().items()
    ]


def text(result: Mapping[str, Any], options: Namespace, session: Session | None) -> RenderableType:
    """A summary for people: the best trials beside the chance baseline, what went wrong, and what to run next.

    By `options` the next commands find the study; they predict on the folder of the frames, if it is there."""
    states = ", ".join(f"{count} {state}" for state, count in result["trials"].items())
    lines: list[RenderableType] = ["", f"{result['study']}: {states}"]
    if result["best"]:
        several = any(row["trainings"] > 1 for row in result["best"])
        lines.append(
            table(
                [
                    {name: row[name] for name in ("trial", "score", "iou", "accuracy")}
                    | ({"trainings": row["trainings"]} if several else {})
                    | {"epoch": row["epoch"]}
                    | {"parameters": f"{row['parameters'] / 1e6:.2f} M"}
                    | ({"ms": f"{row['ms']:.1f}"} if "ms" in result["limits"] else {})
                    | {"time": duration(row["seconds"]), "recipe": row["heads"]}
                    for row in result["best"]
                ]
            )
        )
    else:
        lines.append(result["no_best"])
    if result["over_limits"]:
        over = limits.shown(result["limits"])
        lines.append(f"over the limits ({over}), so never the best: {', '.join(map(str, result['over_limits']))}")
    if interval := result["interval"]:
        best, n = result["best"][0], result["best"][0]["trainings"]
        again = f"; its first score was {best['first_score']:.4f}" if best["confirmed"] else ""
        lines.append(
            f"trial {best['trial']}: expect {interval['expected']:.3f} of other frames, its score less its luck; 95% "
            f"interval {interval['low']:.3f} to {interval['high']:.3f}, by {interval['frames']} frames and {n} "
            f"training{'s' * (n > 1)}{again}"
        )
    if (chance := result["chance_baseline"]) is not None:
        lines.append(f"chance baseline: {chance:.4f} (majority class, mean box)")
    if result["trouble"]:
        trials: dict[tuple[str, str], list[str]] = {}
        for row in result["trouble"]:
            trials.setdefault((row["state"], row["reason"]), []).append(str(row["trial"]))
        told = (f"  {state} {', '.join(numbers)}: {reason}" for (state, reason), numbers in trials.items())
        lines += ["", "trouble", *told]
    if result["waiting_for"]:
        lines += ["", "waiting for weights; the same command draws them once the file is there"]
        for row in result["waiting_for"]:
            recipes = f" ({row['recipes']} first recipe{'s' * (row['recipes'] > 1)})" * (row["recipes"] > 0)
            lines.append(f"  {row['backbone']:<18} {row['file']}{recipes}")
    if result["best"]:  # commands are not folded: they are to be copied as they stand
        commands = (f"  {command}" for command in next_commands(result, options, session))
        lines += ["", "next", *(Text(command, no_wrap=True, overflow="ignore") for command in commands)]
    return Group(*lines)


def next_commands(result: Mapping[str, Any], options: Namespace, session: Session | None) -> Iterator[str]:
    """Commands that work as they stand: train the best trial again, predict with it, look at the study."""
    python, study = program("python"), result["study"]
    yield shlex.join([python, "-m", "milair.retrain", "--study", study, *place_options(options)])
    if session is not None:
        model = model_folder(options.studies, study, result["best"][0]["trial"])
        words = python, "-m", "milair.predict", model, session.validation[0].path.parent, "--draw", model / "drawn"
        yield shlex.join(map(str, words))
    place = artifacts.folder(options.studies)
    yield shlex.join([program("optuna-dashboard"), result["storage"], "--artifact-dir", str(place)])
    yield shlex.join([python, "-m", "milair.dashboard", "--study", study, *where_options(options)])


def model_folder(studies: Path, study: str, trial: int) -> Path:
    """Where the model of a trial is kept."""
    return studies / "models" / f"{study}-{trial}"


def dimensions(domains: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What a space varies, a line each, from the JSON that studies store."""
    return [f"  {name:<18} {_values(domain)}" for name, domain in domains.items()]


def _values(domain: Mapping[str, Any]) -> str:
    if "choices" in domain:
        return ", ".join(map(str, domain["choices"]))
    low, high = domain.get("int") or domain["float"]
    step = f" by {domain['step']}" if domain["step"] not in (None, 1) else ""
    return f"{low} to {high}{step}{', log scale' if domain['log'] else ''}"
