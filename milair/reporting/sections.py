"""A report: its sections as Markdown, the result first, then the tables and pictures that it rests on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torchinfo

from milair import __version__
from milair.errors import UsageError
from milair.model import backbones, heads
from milair.recipe import Recipe, describe
from milair.reporting.evidence import Evidence
from milair.reporting.page import folded, millions, plain, table, to_html
from milair.study import drawing, duration
from milair.study.kept import curves, outputs, scalars
from milair.study.kept import trained as recipe_json
from milair.training import chance, plots

_FRAMES = 10  # validation frames that are shown
_TOP = 10
_ENOUGH = 10  # complete trials, before their differences are shared out among what was varied


def write(folder: Path, session: Any, against: Any = None) -> Path:
    """Write a study's report.md and report.html, with their pictures, into `folder`. Returns the page's path.

    `session` and `against`, another study's to compare with, are what an Evidence takes. UsageError if they differ in
    frames or split."""
    evidence, other = Evidence(session), Evidence(against) if against else None
    if other and any(getattr(evidence.settings, n) != getattr(other.settings, n) for n in ("fingerprint", "split")):
        raise UsageError(f"--against {other.name}: its training or validation frames are not those of {evidence.name}")
    folder.mkdir(parents=True, exist_ok=True)
    sections = [
        _head(evidence),
        _best(evidence),
        *(section(evidence, folder) for section in evidence.space.sections),
        _against(evidence, other, folder) if other else "",
        _importances(evidence),
        _batch_sizes(evidence),
        _frames(evidence, folder),
        _layers(evidence),
        _curves(evidence, folder),
    ]
    text, page = "\n\n".join(filter(None, sections)) + "\n", folder / "report.html"
    page.with_suffix(".md").write_text(text, encoding="utf-8")
    page.write_text(to_html(text, f"{evidence.name}, a report of milair", folder), encoding="utf-8")
    return page


def _head(evidence: Evidence) -> str:
    best, noise = evidence.best, evidence.noise
    count, complete = len(evidence.finished), len(evidence.complete)
    expected = "less than that"
    if best in noise.outcomes:
        estimate = noise.expected(best, evidence.level)
        expected = f"{estimate.value:.3f} ({evidence.level:.0%} interval {estimate.span})"
    known, rivals = len(noise.outcomes), len(evidence.rivals)
    ruled_out = (
        f"None of the {known} recipes can be ruled out as the best. "
        if rivals == known
        else f"With {evidence.level:.0%}, the best recipe is among {rivals} of the {known} recipes. "
    )
    fixed = "".join(f", {name} {value}" for name, value in evidence.settings.overrides.items())
    devices = {(of["device"], of["threads"]) for of in map(scalars, evidence.complete)}
    listed = (f"{name} with {threads} thread{'s' * (threads > 1)}" for name, threads in sorted(devices))
    first, *others = evidence.splits
    halves = f"{len(first.train)} training and {len(first.val)} validation frames"
    if others:
        halves = f"{len(evidence.validation)} frames in {len(evidence.splits)} folds, each held back once"
    lines = [
        f"**{evidence.mean(best, 'score'):.4f}** is the highest score: {evidence.what(best)}. "
        f"{ruled_out if known > 1 else ''}It was chosen by the validation frames: expect {expected} of other frames.",
        f"{chance.chance_baseline(evidence.splits):.4f} is the chance baseline: the most frequent class and mean box.",
        f"One frame is {1 / len(evidence.validation):.1%} of accuracy. {_spread(evidence)}",
        f"{count} trainings ({complete} complete, {count - complete} pruned) took {duration(evidence.seconds())} on "
        f"{' and '.join(listed)}.",
        f"{halves} ({evidence.settings.split_kind} split), "
        f"{evidence.settings.views} views of each training picture{fixed}. milair {__version__}.",
    ]
    return "\n".join([f"# {evidence.name}\n", f"{evidence.space.question}\n", *(f"- {line}" for line in lines)])


def _spread(evidence: Evidence) -> str:
    deviation, freedom = evidence.noise.spread
    if not freedom:
        return "No recipe was trained with two seeds: intervals are of these models, not of their recipes."
    several = sum(len(trials) > 1 for trials in evidence.trials.values())
    return (
        f"Over the seeds of one recipe, the score's standard deviation is {deviation:.4f} (pooled over {several} "
        f"recipe{'s' * (several > 1)}, {freedom} degree{'s' * (freedom > 1)} of freedom). Intervals hold that and the "
        "frames' own noise."
    )


def _best(evidence: Evidence) -> str:
    """The recipes with the highest scores, and what separates them from the first one."""
    ranked = sorted(evidence.trials, key=lambda recipe: -evidence.mean(recipe, "score"))[:_TOP]
    first, *others = [evidence.trials[recipe][0].params.items() for recipe in ranked]
    common = dict(set(first).intersection(*others)) if others else {}
    rows = [
        [
            evidence.what(recipe, common),
            evidence.trials[recipe][0].number,
            f"{evidence.mean(recipe, 'score'):.4f}",
            len(evidence.trials[recipe]),
            f"{evidence.mean(recipe, 'iou'):.3f}",
            f"{evidence.mean(recipe, 'accuracy'):.3f}",
            millions(evidence.size(recipe).total),
            f"{evidence.mean(recipe, 'score') - evidence.mean(evidence.best, 'score'):+.4f}",
            ("yes" if recipe in evidence.rivals else "no") if recipe in evidence.noise.outcomes else None,
        ]
        for recipe in ranked
    ]
    columns = ["Recipe", "Trial", "Score", "Seeds", "IoU", "Accuracy", "Parameters", "Less the first"]
    shared = ", ".join(f"{name} {value}" for name, value in sorted(common.items()))
    return "\n\n".join(
        [
            "## The highest scores",
            *([f"All of them have {shared}."] if common else []),
            table([*columns, f"May be the best ({evidence.level:.0%})"], rows),
        ]
    )


def _against(evidence: Evidence, other: Evidence, folder: Path) -> str:
    """Two searches: their best recipes on the same frames, and what each cost."""
    both = evidence, other
    measures: dict[str, Callable[[Evidence], Any]] = {
        "Trainings": lambda one: len(one.finished),
        "of them complete": lambda one: len(one.complete),
        "Passes over the training frames": lambda one: f"{one.progress()[0][-1]:,.0f}",
        "Time": lambda one: duration(one.seconds()),
        "Best recipe": lambda one: one.what(one.best),
        "Its score": lambda one: one.over_seeds(one.best),
        "Its seeds": lambda one: len(one.trials[one.best]),
    }
    plots.progress({one.name: one.progress() for one in both}, folder / "progress.svg")
    difference = other.less_best(evidence)
    verdict = "The predictions of their best recipes were not kept, so nothing can be said of their difference."
    if difference:
        words = {1: "is better than", 0: "cannot be told from", -1: "is worse than"}[difference.sign]
        verdict = (
            f"The best of {other.name} {words} that of {evidence.name}: {difference} ({evidence.level:.0%} interval "
            "that allows for both having been picked)."
        )
    return "\n\n".join(
        [
            f"## {evidence.name} and {other.name}",
            verdict,
            table(
                ["", *(one.name for one in both)], [[name, *map(measure, both)] for name, measure in measures.items()]
            ),
            "![best score over passes](progress.svg)",
        ]
    )


def _importances(evidence: Evidence) -> str:
    title, count = "## Importance of what was varied", len(evidence.complete)
    if count < _ENOUGH:
        return f"{title}\n\nOnly from {_ENOUGH} complete trials on; here they are {count}."
    fanova, ped_anova = evidence.importances()
    names = sorted({*fanova, *ped_anova}, key=lambda name: (-fanova.get(name, 0.0), -ped_anova.get(name, 0.0), name))
    rows = [[name, plain(fanova.get(name)), plain(ped_anova.get(name))] for name in names]
    return "\n\n".join(
        [
            title,
            f"Shares of the differences that {count} complete trials show. fANOVA explains the score everywhere, and "
            "leaves out parameters that some trials lack. PED-ANOVA explains what sets the best trials apart. Neither "
            "knows the noise. Parameters that changed together, as in recipes that were not drawn, share one effect.",
            table(["Parameter", "fANOVA", "PED-ANOVA"], rows),
        ]
    )


def _batch_sizes(evidence: Evidence) -> str:
    trainings = pd.DataFrame(
        {
            "batch": recipe.batch_size,
            "ms": 1000
            * kept["seconds"]
            / (kept["epochs"] * recipe.augmentations * kept.get("folds", 1) * len(evidence.splits[0].train)),
            "heads": heads.training_bytes(recipe, len(evidence.classes)) / 1e6,
            "ram": kept["ram_MB"] / 1024,
            "vram": kept["vram_MB"] / 1024,
        }
        for recipe, trials in evidence.trials.items()
        for kept in map(scalars, trials)
    )
    rows = [
        [size, len(of), _span(of.ms, 2), _span(of.heads, 0), plain(of.ram.max(), 1), plain(of.vram.max() or None, 1)]
        for size, of in trainings.groupby("batch")
    ]
    return "\n\n".join(
        [
            "## Time and memory by batch size",
            "Time to train on one view of a picture, over all complete trainings of a batch size, whatever their "
            "heads. Memory of the heads is computed. RAM is the most that a worker held by the training's end.",
            table(["Batch", "Trainings", "ms a view", "Heads, MB", "RAM, GB", "VRAM, GB"], rows),
        ]
    )


def _span(values: "pd.Series[float]", digits: int) -> str:
    return " to ".join(dict.fromkeys(f"{end:.{digits}f}" for end in (values.min(), values.max())))


def _frames(evidence: Evidence, folder: Path) -> str:
    """Validation frames from the worst to the best predicted, with the truth and what the best trial predicts."""
    trial = evidence.trials[evidence.best][0]
    if not (rows := outputs(trial)):
        return ""
    outcome = evidence.outcome(trial)
    order = outcome.mean(1).argsort(kind="stable").tolist()
    pictures = []
    for number in dict.fromkeys(order[round(place * (len(order) - 1) / (_FRAMES - 1))] for place in range(_FRAMES)):
        frame, (label, probability, *box) = evidence.validation[number], rows[number]
        path = f"frames/{number}.jpeg"  # names may be equal in two folders, or be no links
        plots.prediction(frame, (box[0], box[1], box[2], box[3]), folder / path)
        says = f"{evidence.classes[int(label)]} {probability:.0%}"
        if evidence.classes[int(label)] != frame.label:
            says = f"**{says}**, is {frame.label}"
        pictures.append(f"![{frame.label}]({path}) {says}, IoU {outcome[number, 0]:.2f}")
    return "\n\n".join(
        [
            "## Validation frames",
            f"Predictions of trial {trial.number}, from the worst to the best by IoU and class. The true box is green, "
            "the predicted one red.",
            *('<div class="frames">', *pictures, "</div>"),
        ]
    )


def _layers(evidence: Evidence) -> str:
    size = evidence.size(evidence.best)
    title = f"{millions(size.total)} parameters, of which {millions(size.trainable)} are trained"
    printed = layers(evidence.best, len(evidence.classes))
    return "\n\n".join(["## Layers of the model with the highest score", folded(title, f"```text\n{printed}\n```")])


def layers(recipe: Recipe, classes: int) -> str:
    """torchinfo's table of a recipe's model. Nothing is computed or loaded: a picture passes on torch's meta device."""
    model = torch.nn.Sequential(backbones.on_meta(recipe.feature_map), heads.on_meta(recipe, classes)[0])
    picture = (1, 3, *reversed(recipe.size))
    return str(torchinfo.summary(model, input_size=picture, device="meta", depth=9, verbose=0))


def _curves(evidence: Evidence, folder: Path) -> str:
    """Loss, accuracy and IoU of every training that ended, each to be unfolded."""
    parts = ["## Curves", "The score is that of the epoch at the dotted line."]
    (folder / "curves").mkdir(exist_ok=True)
    for trial in evidence.finished:
        if (trained := curves(trial)) is None:
            continue
        attributes, path = trial.user_attrs, f"curves/trial-{trial.number}.svg"
        (folder / path).write_bytes(drawing.curves(trained, attributes["epoch"]))
        title = f"trial {trial.number}, {trial.state.name.lower()}, {trial.value:.4f}: "
        title += describe(recipe_json(trial), trial.params)
        opened = trial in evidence.trials[evidence.best]
        parts.append(folded(title, f"![curves of trial {trial.number}]({path})", opened))
    return "\n\n".join(parts)
