"""The document's published runs, by their arithmetic and against its text, and how their table is read."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import partial
from pathlib import Path

import document
import pytest
from optuna.trial import FixedTrial
from printed_layers import layers

from milair import LinearHead, Recipe
from milair.errors import MilairError
from milair.model import heads
from milair.space import default_folder, load
from search_spaces.document import BASELINE, FIRST, space
from search_spaces.document.runs import CLAIMS, RUNS, Run, parse_claim, parse_run, read

CLASSES = 6
METRICS = ("loss", "cls_loss", "reg_loss", "iou", "accuracy")
FIGURES = {
    "best_epoch",
    *(f"{part}_{name}" for part in ("train", "val") for name in METRICS),
    *("private_score", "public_score", "test_score"),
    *("total_params", "trainable_params", "params_mb", "input_mb", "pass_mb", "total_mb", "vram_gb", "ram_gb"),
}


def label(run: Run) -> str:
    return f"{run.chapter}: {run.name}"


def published(figure: str) -> list[Run]:
    return [run for run in RUNS if figure in run.figures]


def found(chapter: str, name: str) -> Run:
    (run,) = (run for run in RUNS if (run.chapter, run.name) == (chapter, name))
    return run


def test_every_run_of_the_document_is_there_once() -> None:
    assert len(RUNS) == len({(run.chapter, run.name) for run in RUNS}) == 57
    assert len(FIRST) == len(set(FIRST)) == 53
    assert FIRST[0] == RUNS[0].recipe
    assert {run.recipe for run in RUNS} == set(FIRST)
    assert sum(recipe.backbone in ("squeezenet1_0", "mobilenet_v2") for recipe in FIRST) == 47


def test_figures_are_the_documents() -> None:
    assert {name for run in RUNS for name in run.figures} == FIGURES


def test_the_documents_space_gives_each_of_its_recipes() -> None:
    document_space = load("document", default_folder())
    for recipe in FIRST:
        assert space(FixedTrial(document_space.answers(recipe))) == recipe


def test_the_best_run_is_the_baseline_with_the_figures_that_the_document_ends_with() -> None:
    best = max(RUNS, key=lambda run: run.test_score or 0)
    assert best == found("Augmentation", "6")
    assert best.recipe == BASELINE
    assert best.score == pytest.approx(0.8218, abs=5e-5)
    assert best.test_score == 0.83748


@pytest.mark.parametrize("run", published("val_loss"), ids=label)
def test_losses_and_overlaps_add_up(run: Run) -> None:
    alpha = run.recipe.alpha
    for part in ("train", "val"):
        loss, cls_loss, reg_loss, iou, accuracy = (run.figures[f"{part}_{metric}"] for metric in METRICS)
        assert alpha * reg_loss + (1 - alpha) * cls_loss == pytest.approx(loss, abs=1e-6)
        assert reg_loss + iou == pytest.approx(1, abs=2e-5)  # the notebook has 1e-6 in the union
        assert 0 < iou < 1
        assert 0 < accuracy <= 1


@pytest.mark.parametrize("run", published("val_accuracy"), ids=label)
def test_validation_accuracies_are_means_of_batch_means(run: Run) -> None:
    accuracy = run.figures["val_accuracy"]
    if "accuracy is rounded" in run.note:
        assert accuracy == round(59 / 64, 2)
    else:
        assert (64 * accuracy).is_integer()  # batches of 32 and 16; 48 frames alone cannot give it


@pytest.mark.parametrize("run", published("params_mb"), ids=label)
def test_parameters_and_megabytes_are_those_of_the_recipe(run: Run) -> None:
    size, (_, sums) = heads.size(run.recipe, CLASSES), layers(run.recipe, CLASSES)
    for name, counted in (("total_params", size.total), ("trainable_params", size.trainable)):
        assert run.figures.get(name, counted) == counted
    for name, megabytes, tolerance in (
        ("params_mb", size.megabytes, 0.005),
        ("input_mb", sums["Input size (MB)"], 0.006),
        ("pass_mb", sums["Forward/backward pass size (MB)"], 0.006),
        ("total_mb", sums["Estimated Total Size (MB)"], 0.006),
    ):
        assert run.figures.get(name, megabytes) == pytest.approx(megabytes, abs=tolerance), name


def test_all_tables_of_layers_are_among_them() -> None:
    assert [len(published(name)) for name in ("params_mb", "total_mb", "total_params", "pass_mb")] == [11, 11, 10, 10]
    assert {label(run) for run in published("total_params")} < {label(run) for run in published("params_mb")}


def test_a_training_told_again_has_the_same_figures() -> None:
    again = 0
    for run in RUNS:
        if same := re.match(r"The training of ([^,]+), ([^,]+), again", run.note):
            first = found(*same.groups())
            common = run.figures.keys() & first.figures.keys()
            assert {"best_epoch", "private_score", "public_score", "val_iou"} <= common
            assert run.recipe == first.recipe
            for name in common:
                assert run.figures[name] == pytest.approx(first.figures[name], abs=5e-5), name
            again += 1
    assert again == 2


def test_a_recipe_trained_again_says_so() -> None:
    seen: dict[Recipe, list[Run]] = defaultdict(list)
    for run in RUNS:
        seen[run.recipe].append(run)
    repeated = [runs for runs in seen.values() if len(runs) > 1]
    assert [len(runs) for runs in repeated] == [4, 2]
    for runs in repeated:
        for run in runs[1:]:
            assert any(other.name in run.note and other.chapter.split(": ")[-1] in run.note for other in runs), run


def test_contradictions_have_notes_that_are_true() -> None:
    batch, final = found("Batch size", "32"), found("Iterate alpha", "0.7")
    assert batch.recipe == final.recipe
    assert batch.figures["best_epoch"] == 56 != final.figures["best_epoch"]
    assert "94 there and 56 here" in batch.note

    reg, cls = "Use CNNs for heads: Reg head", "Use CNNs for heads: Clas head"
    two, three = found(cls, "2 Block with 128 filters"), found(cls, "3 Blocks")
    assert two.test_score == three.test_score
    assert "that of 3 Blocks" in two.note

    full, one, four = found("Full CNN model", "1 Block, 4 Blocks"), found(cls, "1 Block"), found(reg, "4 Blocks")
    assert full.recipe == one.recipe
    assert full.figures["val_iou"] == four.figures["val_iou"] != one.figures["val_iou"]
    assert "0.6569 there" in full.note
    share = full.figures["total_params"] / found("Final Model", "linear heads").figures["total_params"]
    assert 1 - share == pytest.approx(0.821, abs=1e-3)

    swin = found("Pre trained model comparison", "Swin Transform")
    assert "bug" in swin.note
    assert {run.name for run in RUNS if run.test_score is None} == {
        run.name for run in RUNS if "No score is given" in run.note
    }


def test_claims_compare_different_recipes_of_the_document() -> None:
    assert len(CLAIMS) == 48
    for claim in CLAIMS:
        assert claim.better in RUNS
        assert claim.worse in RUNS
        assert claim.better.recipe != claim.worse.recipe


def test_every_figure_is_in_the_text(real_data: Path) -> None:
    written = document.numbers(document.text(real_data))
    lacking = [(label(run), name) for run in RUNS for name in run.figures if run.figures[name] not in written]
    assert lacking == []


def test_figures_stand_under_their_names_in_the_text(real_data: Path) -> None:
    """A training's ten lines, `train_loss = ` to `val_accuracy = `, are all of one run, after its epoch."""
    pattern = re.compile(rf"((?:train|val)_(?:{'|'.join(METRICS)})) = ({document.NUMBER})\s")
    before, *blocks = document.text(real_data).split("train_loss = ")
    told = []
    for block in blocks:
        epoch = int(re.findall(r"(?i)poch (\d+)", before)[-1])
        figures = dict(reversed(pattern.findall(f"train_loss = {block}")))
        told.append({"best_epoch": epoch} | {name: float(text) for name, text in figures.items()})
        before = block
    names = ["best_epoch", *(f"{part}_{metric}" for part in ("train", "val") for metric in METRICS)]
    given = [{name: run.figures[name] for name in names} for run in published("train_loss")]
    assert len(told) == 35
    assert given == told


GOOD = "Heads,one,,0.6,,,,0.5,\n"
HEADER = "chapter,run,backbone,alpha,cls_head.type,cls_head.blocks,cls_head.widths,val_iou,note\n"


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_empty_cells_keep_the_defaults(tmp_path: Path) -> None:
    assert read(written(tmp_path, f'{HEADER}{GOOD}Heads,two,,,linear,,,,"as it, is"\n'), parse_run) == [
        Run("Heads", "one", Recipe(alpha=0.6), {"val_iou": 0.5}, ""),
        Run("Heads", "two", Recipe(cls_head=LinearHead()), {}, "as it, is"),
    ]


@pytest.mark.parametrize(
    ("bad", "rule"),
    [
        ("Heads,two,,,,,,high,", "'high'"),
        ("Heads,two,,much,,,,,", "alpha"),
        ("Heads,two,,7,,,,,", "alpha"),
        ("Heads,two,,,round,,,,", "cls_head"),
        ("Heads,two,,,conv,,256,,", r"no field 'cls_head\.widths'"),
        ("Heads,two,,,conv,many,,,", r"cls_head\.blocks"),
        ("Heads,two,,,conv,65,,,", "blocks"),
    ],
)
def test_a_wrong_cell_is_one_line_with_file_and_row(tmp_path: Path, bad: str, rule: str) -> None:
    with pytest.raises(MilairError, match=rf"mine\.csv, line 3: .*{rule}") as caught:
        read(written(tmp_path, f"{HEADER}{GOOD}{bad}\n"), parse_run)
    assert "\n" not in str(caught.value)


def test_rows_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    text = f'{HEADER}Heads,one,,,,,,,"over\ntwo lines"\nHeads,two,,7,,,,,\n'
    with pytest.raises(MilairError, match=r"mine\.csv, line 4: "):
        read(written(tmp_path, text), parse_run)


def test_a_claim_names_two_runs(tmp_path: Path) -> None:
    path = written(
        tmp_path, "claim,chapter,run,than_chapter,than_run\nFour blocks,Final Model,linear heads,Nowhere,one\n"
    )
    with pytest.raises(MilairError, match=r"mine\.csv, line 2: .*'Nowhere', 'one'"):
        read(path, partial(parse_claim, RUNS))


@pytest.mark.parametrize(
    ("figures", "score", "test_score"),
    [
        ({}, None, None),
        ({"val_iou": 0.75}, None, None),
        ({"val_iou": 0.75, "val_accuracy": 0.875}, 0.8125, None),
        ({"val_iou": 0.0, "val_accuracy": 0.0}, 0.0, None),
        ({"private_score": 0.5}, None, 0.5),
        ({"private_score": 0.5, "public_score": 0.75}, None, 0.625),
        ({"private_score": 0.5, "public_score": 0.75, "test_score": 0.875}, None, 0.875),
        ({"test_score": 0.0, "public_score": 0.75}, None, 0.0),
    ],
)
def test_scores_are_means_of_what_was_published(
    figures: dict[str, float], score: float | None, test_score: float | None
) -> None:
    run = Run("Heads", "one", Recipe(), figures, "")
    assert (run.score, run.test_score) == (score, test_score)
