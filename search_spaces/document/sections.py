"""The sections that only the document's report has: its figures and its conclusions beside this study's own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

from milair.recipe import ConvHead, LinearHead, Recipe
from milair.reporting.page import folded, millions, plain, table

from .runs import Claim, Run

if TYPE_CHECKING:  # a space file is light
    from milair.reporting.evidence import Evidence
    from milair.training.noise import Estimate

_WORDS = {1: "better", 0: "not told apart", -1: "worse"}


def published_figures(runs: Sequence[Run], evidence: Evidence, _folder: Path) -> str:
    """The published runs, chapter by chapter, and beside them this study's own."""
    recipes = [evidence.key(run.recipe) for run in runs]
    parts = [
        "## Published and own figures",
        f"{len(runs)} published runs have {len(set(recipes))} distinct recipes. "
        f"{sum(recipe in evidence.trials for recipe in recipes)} of the runs were trained here. Published validation "
        "figures are means of batches' means, ours are means over frames. Test scores are of other frames, without "
        "labels here; where a private and a public one were published, their mean. The last column is our score, "
        "taken over batches as theirs was, less the published one. The published run's outcomes frame by frame are "
        "not known, so its score is given as much noise as ours has.",
    ]
    for chapter, members in groupby(runs, key=lambda run: run.chapter):
        parts += [f"### {chapter}", _chapter(list(members), evidence)]
    return "\n\n".join(parts)


def _chapter(runs: list[Run], evidence: Evidence) -> str:
    notes = {run.name: (number, run.note) for number, run in enumerate((run for run in runs if run.note), 1)}
    memory = [name for name in ("ram_gb", "vram_gb") if any(name in run.figures for run in runs)]
    columns = [
        *("Run", "Parameters", "Epoch", "IoU", "Acc.", "Score", "Test"),
        *(name.upper().replace("_", ", ") for name in memory),
        *("Own epoch", "Own IoU", "Own acc.", "Own score", "Seeds"),
        f"Own less published, {evidence.level:.0%} interval",
    ]
    rows = [
        [
            f"{run.name} [{notes[run.name][0]}]" if run.note else run.name,
            millions(evidence.size(run.recipe).total),
            plain(run.figures.get("best_epoch"), 0),
            plain(run.figures.get("val_iou"), 3),
            plain(run.figures.get("val_accuracy"), 3),
            plain(run.score, 4),
            plain(run.test_score, 4),
            *(plain(run.figures.get(name), 1) for name in memory),
            *_own(run, evidence),
        ]
        for run in runs
    ]
    listed = "\n".join(f"- [{number}] {note}" for number, note in notes.values())
    return f"{table(columns, rows)}\n\n{listed}".rstrip()


def _own(run: Run, evidence: Evidence) -> list[Any]:
    """The last six columns."""
    recipe = evidence.key(run.recipe)
    if recipe not in evidence.trials:
        waits = evidence.settings.lacking().get(run.recipe.backbone)
        return [*[None] * 5, f"waits for {waits.name}" if waits else "not trained"]
    known = run.score is not None and recipe in evidence.noise.outcomes
    return [
        ", ".join(str(trial.user_attrs["epoch"]) for trial in evidence.trials[recipe]),
        plain(evidence.mean(recipe, "iou"), 3),
        plain(evidence.mean(recipe, "accuracy"), 3),
        evidence.over_seeds(recipe),
        len(evidence.trials[recipe]),
        less_published(evidence, recipe, run.score or 0.0) if known else None,
    ]


def less_published(evidence: Evidence, recipe: Recipe, score: float) -> Estimate:
    """Our score less a published one, both taken as means of batches' means.

    The noise is taken from means over frames, which have a little less."""
    outcomes = evidence.noise.outcomes[recipe]
    by_batches = outcomes * batch_weights(len(evidence.validation), recipe.batch_size)
    return evidence.noise.against(recipe, score + outcomes.mean() - by_batches.mean(), evidence.level)


def batch_weights(frames: int, batch_size: int) -> list[float]:
    """What each frame weighs in the mean of its batches' means: [frames], of mean 1.

    The frames of a smaller last batch weigh more."""
    batches = [min(batch_size, frames - first) for first in range(0, frames, batch_size)]
    return [frames / (len(batches) * length) for length in batches for _ in range(length)]


def verdicts(claims: Sequence[Claim], evidence: Evidence) -> list[Estimate | None]:
    """Our score of each claim's better recipe less that of the worse; None where they were not both trained.

    All the intervals hold together with the report's level."""
    pairs = [(evidence.key(claim.better.recipe), evidence.key(claim.worse.recipe)) for claim in claims]
    judged = [pair for pair in pairs if pair[0] != pair[1] and {*pair} <= evidence.noise.outcomes.keys()]
    differences = dict(zip(judged, evidence.noise.differences(judged, evidence.level), strict=True))
    return [differences.get(pair) for pair in pairs]


def conclusions(claims: Sequence[Claim], evidence: Evidence, _folder: Path) -> str:
    """What the document concluded against what this study supports."""
    rows, words, before = [], [], ""
    for claim, difference in zip(claims, verdicts(claims, evidence), strict=True):
        words.append(_WORDS[difference.sign] if difference else "not compared")
        compared = ", ".join(
            f"{name} {mine} – {other}" for name, mine, other in claim.better.recipe.differences(claim.worse.recipe)
        )
        text = "" if claim.text == before else claim.text
        rows.append([text, compared, _published(claim), difference, words[-1]])
        before = claim.text
    judged = len(words) - words.count("not compared")
    of_models = "" if evidence.noise.spread[1] else ", for the models trained here, of one seed each"
    better, worse = (f"{count} hold{'s' * (count == 1)}" for count in (words.count("better"), words.count("worse")))
    note = (
        f"Of the {len(words)} comparisons behind the document's conclusions, {judged} could be repeated: "
        f"**{better}, {worse} the other way round, {words.count('not told apart')} cannot be told from "
        f"noise**{of_models}. Each row is one comparison: our score of the first recipe less that of the second, "
        f"beside the published difference. The intervals are wide enough that all {judged} hold together with "
        f"{evidence.level:.0%}. A difference is called better or worse only where its interval leaves out zero; where "
        "none is told apart, there may still be one."
    )
    columns = ["The document's conclusion", "Compared", "Published", "Own difference", "This study says"]
    return "\n\n".join(["## What was concluded, and what this study supports", note, table(columns, rows, text=2)])


def _published(claim: Claim) -> str:
    """The published differences, by validation and by test, where both runs have them."""
    return ", ".join(
        f"{better - worse:+.3f} ({name})"
        for name, better, worse in (
            ("validation", claim.better.score, claim.worse.score),
            ("test", claim.better.test_score, claim.worse.test_score),
        )
        if better is not None and worse is not None
    )


def linear_and_conv(claims: Sequence[Claim], evidence: Evidence, _folder: Path) -> str:
    """The two models of the first claim that convolutional heads beat linear ones, with their layers."""
    from milair.reporting.sections import layers  # with torch, and a space file is light

    kinds = [LinearHead, LinearHead, ConvHead, ConvHead]
    both = [(claim.worse, claim.better) for claim in claims]
    heads = [[type(head) for run in runs for head in (run.recipe.cls_head, run.recipe.reg_head)] for runs in both]
    if kinds not in heads:
        return ""
    runs = both[heads.index(kinds)]
    keys, sizes = [evidence.key(run.recipe) for run in runs], [evidence.size(run.recipe) for run in runs]
    seconds = [[t.user_attrs["seconds"] / t.user_attrs["epochs"] for t in evidence.trials.get(key, [])] for key in keys]
    rows: list[list[Any]] = [
        ["Total params", *(f"{size.total:,}" for size in sizes)],
        ["Trainable params", *(f"{size.trainable:,}" for size in sizes)],
        ["Params size (MB)", *(plain(size.megabytes, 2) for size in sizes)],
        ["Published validation score", *(plain(run.score, 4) for run in runs)],
        ["Own score", *(evidence.over_seeds(key) if key in evidence.trials else "not trained" for key in keys)],
        ["Own seconds an epoch", *(plain(mean(each), 2) if each else None for each in seconds)],
    ]
    return "\n\n".join(
        [
            "## Linear against convolutional heads",
            f"The convolutional model has **{1 - sizes[1].total / sizes[0].total:.1%} fewer parameters** than the "
            "linear one.",
            table(["", *(f"{run.recipe.cls_head}; {run.recipe.reg_head}" for run in runs)], rows),
            *(
                folded(f"The layers of the {name} model", f"```text\n{layers(run.recipe, len(evidence.classes))}\n```")
                for name, run in zip(("linear", "convolutional"), runs, strict=True)
            ),
        ]
    )
