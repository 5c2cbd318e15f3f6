"""The sections of a report, as Markdown: what was found first, then the tables and pictures that it rests on."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

from optuna.trial import FrozenTrial

from milair.model import heads, layers
from milair.recipe import Recipe, describe
from milair.reporting import comparisons
from milair.reporting.evidence import INTERVAL, LEVEL, Evidence, scores
from milair.reporting.page import millions, plain, table
from milair.runs import Run
from milair.study import results as study
from milair.study.results import duration
from milair.study.session import Settings
from milair.training import metrics, plots

_FRAMES = 10  # validation frames that are shown
_TOP = 10
_SHARED = 10  # complete trials, before their differences are shared out among what was varied


def report(evidence: Evidence, other: Evidence | None, folder: Path, version: str) -> str:
    """All of it; pictures are written into `folder`."""
    parts = [
        _head(evidence, version),
        _best(evidence),
        comparisons.chapters(evidence),
        comparisons.claims(evidence) if evidence.space.claims else "",
        comparisons.linear_and_conv(evidence),
        comparisons.against(evidence, other, folder) if other else "",
        _importances(evidence),
        _batch_sizes(evidence),
        _frames(evidence, folder),
        _layers(evidence),
        _curves(evidence, folder),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(evidence: Evidence, version: str) -> str:
    trials = study.finished(evidence.study)
    complete = sum(map(len, evidence.trials.values()))
    split, best = evidence.split, evidence.best
    score = mean(scores(evidence.trials[best]))
    found = f"The highest score, **{score:.4f}**"
    if evidence.knows(best):
        found += f" ({INTERVAL} {evidence.noise.score(best).span})"
    lines = [
        f"# {evidence.study.study_name}",
        evidence.space.question,
        f"- {found}, is that of {evidence.what(best)}. {_rivals(evidence)}It was picked, and so was the epoch, on "
        "the very frames that it is judged by: expect less on others.",
        f"- Having learned nothing scores {metrics.learned_nothing(split):.4f}.",
        f"- {_spread(evidence)}",
    ]
    if evidence.space.claims:
        lines.append(f"- {comparisons.said(evidence)}")
    lines.append(
        f"- {len(trials)} trainings ({complete} complete, {len(trials) - complete} pruned) in "
        f"{duration(evidence.seconds())} on {_devices(evidence)}; {len(split.train)} frames to learn from, "
        f"{len(split.val)} to judge by ({evidence.settings.split_kind} split). "
        f"{_settings(evidence.settings)} milair {version}."
    )
    return "\n\n".join(lines[:2]) + "\n\n" + "\n".join(lines[2:])


def _settings(settings: Settings) -> str:
    fixed = "".join(f", {name} {value}" for name, value in settings.overrides.items())
    return f"Every bank holds {settings.views} views{fixed}."


def _rivals(evidence: Evidence) -> str:
    """Among how many recipes the best one is."""
    known, rivals = len(evidence.noise.outcomes), len(evidence.rivals)
    if known < 2:
        return ""
    if rivals == known:
        return f"None of the {known} recipes can be ruled out as the best. "
    return f"The best one is among {rivals} of the {known} recipes, with {LEVEL:.0%}. "


def _spread(evidence: Evidence) -> str:
    deviation, freedom = evidence.noise.spread if evidence.noise.outcomes else (0.0, 0)
    frames = f"One frame is {1 / len(evidence.split.val):.1%} of accuracy"
    if not freedom:
        return f"{frames}. No recipe was trained with two seeds: intervals are of these models, not of their recipes."
    several = sum(len(trials) > 1 for trials in evidence.trials.values())
    pooled = f"{several} recipe{'s' * (several > 1)}, {freedom} degree{'s' * (freedom > 1)} of freedom"
    return (
        f"{frames}. Over the seeds of one recipe, the score's standard deviation is {deviation:.4f} "
        f"(pooled over {pooled}); intervals hold that and the frames' own noise."
    )


def _best(evidence: Evidence) -> str:
    """The recipes with the highest scores, and what separates them from the first one."""
    ranked = sorted(evidence.trials.items(), key=lambda item: -mean(scores(item[1])))[:_TOP]
    first, *others = [trials[0].params.items() for _, trials in ranked]
    common = dict(set(first).intersection(*others)) if others else {}
    rows = [
        [
            evidence.what(recipe, common),
            trials[0].number,
            f"{mean(scores(trials)):.4f}",
            len(trials),
            f"{mean(trial.user_attrs['iou'] for trial in trials):.3f}",
            f"{mean(trial.user_attrs['accuracy'] for trial in trials):.3f}",
            millions(heads.size(recipe, len(evidence.classes)).total),
            f"{mean(scores(trials)) - mean(scores(evidence.trials[evidence.best])):+.4f}",
            "yes" if recipe in evidence.rivals else "no" if evidence.knows(recipe) else None,
        ]
        for recipe, trials in ranked
    ]
    columns = [
        "Recipe",
        "Trial",
        "Score",
        "Seeds",
        "IoU",
        "Accuracy",
        "Parameters",
        "Less the first",
        f"May be the best ({LEVEL:.0%})",
    ]
    shared = ", ".join(f"{name} {value}" for name, value in sorted(common.items()))
    note = [f"All of them have {shared}."] if common else []
    return "\n\n".join(["## The highest scores", *note, table(columns, rows)])


def _importances(evidence: Evidence) -> str:
    count = sum(map(len, evidence.trials.values()))
    title = "## Importance of what was varied"
    if count < _SHARED:
        return f"{title}\n\nOnly from {_SHARED} complete trials on; here they are {count}."
    by_fanova, by_ped = evidence.importances()
    names = sorted({*by_fanova, *by_ped}, key=lambda name: (-by_fanova.get(name, 0.0), -by_ped.get(name, 0.0), name))
    rows = [[name, plain(by_fanova.get(name), 3), plain(by_ped.get(name), 3)] for name in names]
    note = (
        f"Shares of the differences that {count} complete trials show. fANOVA explains the score everywhere, PED-ANOVA "
        "what sets the best trials apart; they disagree, and neither knows the noise. fANOVA leaves out what some "
        "trials lack. Where values were not drawn each for itself, as those of published runs, what changed together "
        "shares one effect."
    )
    return "\n\n".join([title, note, table(["Parameter", "fANOVA", "PED-ANOVA"], rows)])


def _batch_sizes(evidence: Evidence) -> str:
    published: dict[int, Run] = {}
    for run in evidence.space.runs:
        if {"vram_gb", "ram_gb"} & set(run.figures):
            published[run.recipe.batch_size] = run
    rows = []
    classes = len(evidence.classes)
    for size, trials in evidence.by_batch_size().items():
        needs = [heads.training_bytes(Recipe.from_json(trial.user_attrs["recipe"]), classes) / 1e6 for trial in trials]
        memory = [trial.user_attrs["memory"] for trial in trials]
        views = [_view_seconds(trial, evidence) for trial in trials]
        figures = published[size].figures if size in published else {}
        rows.append(
            [
                size,
                len(trials),
                f"{1000 * min(views):.2f} to {1000 * max(views):.2f}",
                f"{min(needs):.0f} to {max(needs):.0f}",
                f"{max(row['ram_MB'] for row in memory) / 1024:.1f}",
                f"{max(row['vram_MB'] for row in memory) / 1024:.1f}",
                plain(figures.get("ram_gb"), 1),
                plain(figures.get("vram_gb"), 1),
            ]
        )
    note = (
        "Time to learn from one view of a picture, over all complete trainings of that batch size, whatever their "
        "heads. Memory of the heads is computed from them; RAM is the most that a worker held until a training's end."
    )
    columns = ["Batch", "Trainings", "ms a view", "Heads, MB", "RAM, GB", "VRAM, GB", "Published RAM", "Published VRAM"]
    return "\n\n".join(["## Time and memory by batch size", note, table(columns, rows)])


def _view_seconds(trial: FrozenTrial, evidence: Evidence) -> float:
    kept = trial.user_attrs
    return float(kept["seconds"] / (kept["epochs"] * kept["recipe"]["augmentations"] * len(evidence.split.train)))


def _frames(evidence: Evidence, folder: Path) -> str:
    """Ten validation frames from the worst to the best found, with the truth and what the best trial says."""
    trial = evidence.trials[evidence.best][0]
    if "answers" not in trial.user_attrs:
        return ""
    outcome = evidence.outcome(trial)
    order = sorted(range(len(outcome)), key=lambda number: float(outcome[number].mean()))
    shown = [order[round(place * (len(order) - 1) / (_FRAMES - 1))] for place in range(_FRAMES)]
    pictures = []
    for number in dict.fromkeys(shown):
        frame, (label, probability, *box) = evidence.split.val[number], trial.user_attrs["answers"][number]
        name, overlap = evidence.classes[int(label)], float(outcome[number][0])
        path = folder / "frames" / f"{number}.jpeg"  # names may be equal in two folders, or be no links
        plots.prediction(frame, name, probability, (box[0], box[1], box[2], box[3]), overlap, path)
        caption = f"{frame.label}, found {name} with IoU {overlap:.2f}"
        pictures.append(f"![{caption}](frames/{path.name})")
    note = (
        f"Trial {trial.number}, from the frame that it answers worst to the one that it answers best. "
        "Green is the truth, red the prediction."
    )
    inside = "\n".join(pictures)
    return "\n\n".join(["## Validation frames", note, f'<div class="frames">\n\n{inside}\n\n</div>'])


def _layers(evidence: Evidence) -> str:
    made = layers.table(evidence.best, len(evidence.classes))
    rows = [[layer.name, f"[-1, {', '.join(map(str, layer.shape))}]", f"{layer.parameters:,}"] for layer in made.layers]
    listed = table(["Layer (type)", "Output Shape", "Param #"], rows, text=2)
    return "\n\n".join(
        [
            "## Layers of the model with the highest score",
            "\n".join(f"- {name}: {text}" for name, text in made.sums.items()),
            f"<details><summary>{len(rows)} layers</summary>\n\n{listed}\n\n</details>",
        ]
    )


def _curves(evidence: Evidence, folder: Path) -> str:
    """Loss, accuracy and IoU of every training that ended, each to be unfolded."""
    parts = []
    for trial in study.finished(evidence.study):
        kept = trial.user_attrs
        if "curves" not in kept:
            continue
        path = folder / "curves" / f"trial-{trial.number}.svg"
        plots.curves(kept["curves"], kept["epoch"], path)
        best = " open" if trial in evidence.trials[evidence.best] else ""
        what = describe(kept["recipe"], trial.params)
        title = f"trial {trial.number}, {trial.state.name.lower()}, {trial.value:.4f}: {what}"
        picture = f"![curves of trial {trial.number}](curves/{path.name})"
        parts.append(f"<details{best}><summary>{title}</summary>\n\n{picture}\n\n</details>")
    note = "The dotted line is the epoch of the lowest validation loss, of which the score is."
    return "\n\n".join(["## Curves", note, *parts])


def _devices(evidence: Evidence) -> str:
    devices = {
        f"{device['name']} with {device['threads']} thread{'s' * (device['threads'] > 1)}"
        for trials in evidence.trials.values()
        for device in (trial.user_attrs["device"] for trial in trials)
    }
    return " and ".join(sorted(devices))
