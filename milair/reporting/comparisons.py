"""The sections of a report that compare: with the published runs, with what was concluded from them, with a search."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from optuna.trial import FrozenTrial

from milair.model import heads, layers
from milair.recipe import ConvHead, LinearHead, Recipe
from milair.reporting.evidence import INTERVAL, LEVEL, Evidence, scores
from milair.reporting.page import millions, plain, table
from milair.runs import Claim, Run
from milair.study import results as study
from milair.study.results import duration
from milair.training import plots

_SAME = ("fingerprint", "split")  # what two studies must share to be compared frame by frame


def comparable(mine: Evidence, other: Evidence) -> bool:
    return all(getattr(mine.settings, name) == getattr(other.settings, name) for name in _SAME)


def chapters(evidence: Evidence) -> str:
    """The published runs, chapter by chapter, and beside them this study's own."""
    runs = evidence.space.runs
    if not runs:
        return ""
    own = sum(bool(evidence.of(run)) for run in runs)
    distinct = len({evidence.key(run) for run in runs})
    parts = [
        "## Published and own figures",
        f"{len(runs)} published runs of {distinct} distinct recipes; {own} of the runs were trained here. Published "
        "validation figures are means of batches' means, ours are means over frames; test scores (the mean of the "
        "private and the public one where there are two) are of other frames, without labels here. The last column is "
        "our score, taken over batches as theirs was, less the published one, with the noise of that difference: "
        "nobody kept the published run's outcomes frame by frame, so it is given as much noise as ours has.",
    ]
    for chapter, members in groupby(runs, key=lambda run: run.chapter):
        parts += [f"### {chapter}", _chapter(evidence, list(members))]
    return "\n\n".join(parts)


def _chapter(evidence: Evidence, runs: list[Run]) -> str:
    columns = [
        *("Run", "Parameters", "Epoch", "IoU", "Acc.", "Score", "Test"),
        *("Own epoch", "Own IoU", "Own acc.", "Own score", "Seeds", f"Own less published, {INTERVAL}"),
    ]
    rows, lacking = [], evidence.settings.lacking()
    for run in runs:
        figures, trials = run.figures, evidence.of(run)
        published = [
            f"{run.name} [{_mark(run, runs)}]" if run.note else run.name,
            millions(heads.size(run.recipe, len(evidence.classes)).total),
            plain(figures.get("best_epoch"), 0),
            plain(figures.get("val_iou"), 3),
            plain(figures.get("val_accuracy"), 3),
            plain(run.score, 4),
            plain(run.test_score, 4),
        ]
        if not trials:
            waits = lacking.get(run.recipe.backbone)
            rows.append([*published, *[None] * 5, f"waits for {waits.name}" if waits else "not trained"])
            continue
        rows.append([*published, *_own(trials), _less_published(evidence, run)])
    notes = [f"- [{_mark(run, runs)}] {run.note}" for run in runs if run.note]
    return "\n\n".join([table(columns, rows), *(["\n".join(notes)] if notes else [])])


def _mark(run: Run, runs: list[Run]) -> int:
    return [other.name for other in runs if other.note].index(run.name) + 1


def _own(trials: list[FrozenTrial]) -> list[str]:
    return [
        ", ".join(str(trial.user_attrs["epoch"]) for trial in trials),
        f"{mean(trial.user_attrs['iou'] for trial in trials):.3f}",
        f"{mean(trial.user_attrs['accuracy'] for trial in trials):.3f}",
        _score(trials),
        str(len(trials)),
    ]


def _score(trials: list[FrozenTrial]) -> str:
    """The mean over seeds, and where there are several their standard deviation."""
    found = scores(trials)
    return f"{mean(found):.4f}" + (f" ± {stdev(found):.3f}" if len(found) > 1 else "")


def _less_published(evidence: Evidence, run: Run) -> str | None:
    key = evidence.key(run)
    if run.score is None or not evidence.knows(key):
        return None
    return str(evidence.less_published(key, run.score))


def claims(evidence: Evidence) -> str:
    """What was concluded by hand against what this study supports."""
    rows = []
    for text, members in groupby(evidence.verdicts, key=lambda verdict: verdict.claim.text):
        for number, verdict in enumerate(members):
            difference = verdict.difference
            rows.append(
                [
                    text if number == 0 else "",
                    _compared(verdict.claim),
                    _published(verdict.claim),
                    None if difference is None else str(difference),
                    verdict.word,
                ]
            )
    judged = sum(verdict.difference is not None for verdict in evidence.verdicts)
    note = (
        "Each row is one comparison: our score of the first recipe less that of the second, and the published ones. "
        f"The intervals are wide enough that all {judged} hold together with {LEVEL:.0%}. A difference is called "
        "better or worse only where its interval leaves out zero; where none is told apart, there may still be one."
    )
    columns = ["Conclusion of the earlier search", "Compared", "Published", "Own difference", "This study says"]
    return "\n\n".join(["## What was concluded, and what this study supports", note, table(columns, rows, text=2)])


def _compared(claim: Claim) -> str:
    """In what the two recipes differ: "alpha 0.7 – 0.9"."""
    differences = claim.better.recipe.differences(claim.worse.recipe)
    return ", ".join(f"{name} {mine} – {other}" for name, mine, other in differences)


def _published(claim: Claim) -> str | None:
    """The published differences, by validation and by test, where both have them."""
    found = [
        f"{mine - other:+.3f} ({name})"
        for name, mine, other in (
            ("validation", claim.better.score, claim.worse.score),
            ("test", claim.better.test_score, claim.worse.test_score),
        )
        if mine is not None and other is not None
    ]
    return ", ".join(found) or None


def linear_and_conv(evidence: Evidence) -> str:
    """The two models of a claim that convolutional heads beat linear ones."""
    for claim in evidence.space.claims:
        conv, linear = claim.better.recipe, claim.worse.recipe
        if _kinds(conv) == {ConvHead} and _kinds(linear) == {LinearHead}:
            break
    else:
        return ""
    tables = [layers.table(recipe, len(evidence.classes)) for recipe in (linear, conv)]
    first, second = tables
    rows: list[list[Any]] = [[name, *(made.sums[name] for made in tables)] for name in first.sums]
    rows.append(["Published validation score", *(plain(run.score, 4) for run in (claim.worse, claim.better))])
    trained = [evidence.of(run) for run in (claim.worse, claim.better)]
    rows.append(["Own score", *(_score(trials) if trials else "not trained" for trials in trained)])
    rows.append(["Own seconds an epoch", *(plain(_epoch_seconds(trials), 2) for trials in trained)])
    fewer = 1 - second.size.total / first.size.total
    return "\n\n".join(
        [
            "## Linear against convolutional heads",
            f"The convolutional model has **{fewer:.1%} fewer parameters** than the linear one.",
            table(
                ["", f"Linear ({linear.cls_head}; {linear.reg_head})", f"Conv ({conv.cls_head}; {conv.reg_head})"], rows
            ),
        ]
    )


def _kinds(recipe: Recipe) -> set[type]:
    return {type(recipe.cls_head), type(recipe.reg_head)}


def against(evidence: Evidence, other: Evidence, folder: Path) -> str:
    """Two searches: their best recipes on the same frames, and what each cost."""
    names = [evidence.study.study_name, other.study.study_name]
    rows: list[list[Any]] = []
    for what, value in (
        ("Trainings", lambda one: len(study.finished(one.study))),
        ("of them complete", lambda one: sum(map(len, one.trials.values()))),
        ("Passes over the training pictures", lambda one: f"{one.spent()[0][-1]:,.0f}"),
        ("Time", lambda one: duration(one.seconds())),
        ("Best recipe", lambda one: one.what(one.best)),
        ("Its score", lambda one: _score(one.trials[one.best])),
        ("Its seeds", lambda one: len(one.trials[one.best])),
    ):
        rows.append([what, value(evidence), value(other)])
    plots.progress({one.study.study_name: one.spent() for one in (evidence, other)}, folder / "progress.svg")
    difference = other.less_best(evidence)
    said = "The answers of their best recipes were not kept, so nothing can be said of their difference."
    if difference is not None:
        word = {1: "is better than", 0: "cannot be told from", -1: "is worse than"}[difference.sign]
        said = (
            f"The best of {names[1]} {word} that of {names[0]}: {difference!s} ({INTERVAL} that allows for both "
            "having been picked)."
        )
    return "\n\n".join(
        [
            f"## {names[0]} and {names[1]}",
            said,
            table(["", *names], rows),
            "![best score over passes](progress.svg)",
        ]
    )


def _epoch_seconds(trials: list[FrozenTrial]) -> float | None:
    return mean(trial.user_attrs["seconds"] / trial.user_attrs["epochs"] for trial in trials) if trials else None


def said(evidence: Evidence) -> str:
    words = [verdict.word for verdict in evidence.verdicts]
    of_models = "" if evidence.noise.spread[1] else ", for the models trained here, of one seed each"
    judged = len(words) - words.count("not compared")
    better, worse = (f"{count} hold{'s' * (count == 1)}" for count in (words.count("better"), words.count("worse")))
    return (
        f"Of the {len(words)} comparisons behind the conclusions of the earlier search, {judged} could be repeated: "
        f"{better}, {worse} the other way round, "
        f"{words.count('not told apart')} cannot be told from noise{of_models}."
    )
