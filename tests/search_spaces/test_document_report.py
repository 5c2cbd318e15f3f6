"""The sections of the document's report, on made-up trainings: no verdict without an interval that says so."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState, create_trial

from milair import ConvHead, LinearHead, Recipe
from milair.frames.frame import Split
from milair.reporting.evidence import Evidence
from search_spaces.document.runs import CLAIMS, RUNS, Claim, Run
from search_spaces.document.sections import (
    batch_weights,
    conclusions,
    less_published,
    linear_and_conv,
    published_figures,
    verdicts,
)

HERE = Path()
LINEAR = Recipe(cls_head=LinearHead("8"), reg_head=LinearHead("8"))
CONV = Recipe(cls_head=ConvHead(1, 8), reg_head=ConvHead(1, 8))
ONE = Run(
    "Backbones",
    "One",
    LINEAR,
    {"best_epoch": 3, "val_iou": 0.5, "val_accuracy": 0.25, "private_score": 0.5, "public_score": 0.6},
    "",
)
OTHER = Run("Backbones", "Other", Recipe(backbone="squeezenet1_1"), {"val_iou": 0.4, "val_accuracy": 0.25}, "")
SPARE = Run(
    "Heads", "Conv", CONV, {"val_iou": 0.6, "test_score": 0.61, "vram_gb": 1.5}, "Its accuracy, | is not given."
)
AGAIN = Run("Heads", "One again", LINEAR, ONE.figures, "The training of One.")
TINY = [ONE, OTHER, SPARE, AGAIN]
TINY_CLAIMS = [Claim("One is the best", ONE, OTHER), Claim("Conv heads are better", SPARE, ONE)]


def evidence(
    split: Split, trained: Mapping[Recipe, Sequence[float]], lacking: Mapping[str, Path] | None = None
) -> Evidence:
    """A study whose trainings of a recipe, one for each number given, predict boxes that are off by so much."""
    split = Split(split.train, split.val * 8)
    truth = np.array([frame.box for frame in split.val])
    study = optuna.create_study(direction="maximize", study_name="made-up")
    for recipe, offsets in trained.items():
        for seed, offset in enumerate(offsets):
            boxes = truth + np.random.default_rng(seed).normal(offset, 0.02, truth.shape)
            kept = {
                "recipe": recipe.to_json() | {"seed": seed},
                "answers": [
                    [int(frame.label == "b"), 0.9, *box] for frame, box in zip(split.val, boxes.tolist(), strict=True)
                ],
                **{"epoch": 3, "epochs": 5, "seconds": 10.0, "iou": 0.5, "accuracy": 1.0},
            }
            study.add_trial(create_trial(state=TrialState.COMPLETE, value=0.75, user_attrs=kept))
    settings = SimpleNamespace(overrides={}, lacking=lambda: lacking or {})
    frames, space = SimpleNamespace(classes=("a", "b")), SimpleNamespace()
    session = SimpleNamespace(settings=settings, frames=frames, space=space, study=study)
    session.splits, session.validation = lambda: (split,), split.val
    return Evidence(session)


@pytest.fixture
def found(small_split: Split) -> Evidence:
    return evidence(small_split, {LINEAR: [0.05, 0.06], CONV: [0.01]}, {"squeezenet1_1": Path("squeezenet1_1.pth")})


def rows(markdown: str) -> dict[str, list[str]]:
    """Rows of all tables by their first cell."""
    cells = [line.strip("| ").split(" | ") for line in markdown.splitlines() if line.startswith("| ")]
    return {row[0]: row for row in cells}


def test_its_chapters_hold_every_run_and_say_what_waits(found: Evidence) -> None:
    markdown = published_figures(TINY, found, HERE)
    assert markdown.count("\n### ") == 2
    table = rows(markdown)
    assert table["Other"][-1] == "waits for squeezenet1_1.pth"
    assert "0.3750" in table["One"]  # (0.5 + 0.25) / 2
    assert "0.5500" in table["One"]  # the mean of its two test scores
    assert table["Conv [1]"][7] == "1.5"  # VRAM, a column only where it was published
    assert "[1] Its accuracy, | is not given." in markdown
    assert any("± " in cell for cell in table["One"])
    assert table["One"][7:] == table["One again [2]"][8:]


def test_own_less_published_is_taken_over_batches_as_theirs(found: Evidence) -> None:
    weights = batch_weights(len(found.validation), ONE.recipe.batch_size)
    key = found.key(ONE.recipe)
    assert ONE.score is not None
    difference, plain = less_published(found, key, ONE.score), found.noise.against(key, ONE.score)
    assert difference.value == pytest.approx((found.noise.outcomes[key] * weights).mean() - ONE.score)
    assert difference.high - difference.low == pytest.approx(plain.high - plain.low)
    assert rows(published_figures(TINY, found, HERE))["One"][-1] == str(difference)


@pytest.mark.parametrize(("frames", "batch_size"), [(48, 32), (48, 16), (48, 64), (1, 8), (33, 32), (7, 3)])
def test_batch_weights_make_a_mean_of_batches_means(frames: int, batch_size: int) -> None:
    outcome = np.random.default_rng(0).random(frames)
    means = [outcome[first : first + batch_size].mean() for first in range(0, frames, batch_size)]
    assert (outcome * batch_weights(frames, batch_size)).mean() == pytest.approx(np.mean(means))


@pytest.mark.parametrize(
    ("conv", "word"), [([0.0, 0.001], "better"), ([0.05, 0.06], "not told apart"), ([0.2, 0.21], "worse")]
)
def test_nothing_is_called_better_whose_interval_includes_no_difference(
    small_split: Split, conv: list[float], word: str
) -> None:
    found = evidence(small_split, {LINEAR: [0.05, 0.06], CONV: conv})
    unknown, judged = verdicts(TINY_CLAIMS, found)
    assert unknown is None
    assert judged is not None
    markdown = conclusions(TINY_CLAIMS, found, HERE)
    table = rows(markdown)
    assert table["One is the best"][-1] == "not compared"
    assert table["Conv heads are better"][-2:] == [str(judged), word]
    assert (judged.low > 0) == (word == "better")
    assert (judged.high < 0) == (word == "worse")
    counts = {name: int(name == word) for name in ("better", "worse", "not told apart")}
    assert f"{counts['not told apart']} cannot be told from noise" in markdown
    assert f"{counts['better']} hold{'s' * counts['better']}, {counts['worse']} hold{'s' * counts['worse']}" in markdown


def test_linear_and_conv_are_the_documents_two_models(small_split: Split) -> None:
    (linear,) = (run.recipe for run in RUNS if (run.chapter, run.name) == ("Final Model", "linear heads"))
    found = evidence(small_split, {linear: [0.05]})
    markdown = linear_and_conv(CLAIMS, found, HERE)
    assert "**82.2% fewer parameters**" in markdown  # 82.1% with the document's six classes
    assert rows(markdown)["Own score"] == ["Own score", "0.7500", "not trained"]
    assert rows(markdown)["Own seconds an epoch"][:2] == ["Own seconds an epoch", "2.00"]
    assert markdown.count("<details>") == markdown.count("</details>") == 2
    assert linear_and_conv([Claim("One is the best", ONE, OTHER)], found, HERE) == ""


def test_the_documents_own_runs_and_claims_fill_their_sections(small_split: Split) -> None:
    """All of them, where four of its recipes were trained."""
    trained = list(dict.fromkeys(run.recipe for run in RUNS if run.chapter == "Augmentation"))[:4]
    found = evidence(small_split, {recipe: [0.01 * number] for number, recipe in enumerate(trained)})
    markdown = published_figures(RUNS, found, HERE)
    assert len(re.findall(r"^### ", markdown, re.MULTILINE)) == len({run.chapter for run in RUNS})
    assert len(re.findall(r"^\| (?!Run|:--)", markdown, re.MULTILINE)) == len(RUNS)
    judged = [difference for difference in verdicts(CLAIMS, found) if difference]
    assert f"Of the {len(CLAIMS)} comparisons behind the document's conclusions, {len(judged)} could" in conclusions(
        CLAIMS, found, HERE
    )
    assert 0 < len(judged) < len(CLAIMS)
