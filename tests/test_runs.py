"""Published runs: the document's own, by their arithmetic and against its text, and the rules of reading a table."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import document
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FixedTrial
from strategies import recipes as any_recipe

import milair
from milair import LinearHead, Recipe, space
from milair.errors import MilairError
from milair.model import heads, layers
from milair.runs import Run, read, read_claims, recipes

SPACES = Path(milair.__file__).parent.parent / "search_spaces"
DOCUMENT = space.load("document", SPACES)
CLASSES = 6
METRICS = ("loss", "cls_loss", "reg_loss", "iou", "accuracy")


def label(run: Run) -> str:
    return f"{run.chapter}: {run.name}"


def published(figure: str) -> list[Run]:
    return [run for run in DOCUMENT.runs if figure in run.figures]


def found(chapter: str, name: str) -> Run:
    (run,) = (run for run in DOCUMENT.runs if (run.chapter, run.name) == (chapter, name))
    return run


def test_every_run_of_the_document_is_there_once() -> None:
    assert len(DOCUMENT.runs) == len({(run.chapter, run.name) for run in DOCUMENT.runs}) == 57
    distinct = recipes(DOCUMENT.runs)
    assert len(distinct) == len(set(distinct)) == 53
    assert sum(recipe.backbone in ("squeezenet1_0", "mobilenet_v2") for recipe in distinct) == 47


def test_the_documents_space_gives_each_of_its_recipes() -> None:
    for recipe in recipes(DOCUMENT.runs):
        assert DOCUMENT(FixedTrial(DOCUMENT.answers(recipe))) == recipe


def test_the_best_run_is_the_baseline_with_the_figures_that_the_document_ends_with() -> None:
    best = max(DOCUMENT.runs, key=lambda run: run.test_score or 0)
    assert best == found("Augmentation", "6")
    assert best.recipe == DOCUMENT.baseline
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
    size, table = heads.size(run.recipe, CLASSES), layers.table(run.recipe, CLASSES)
    for name, counted in (("total_params", size.total), ("trainable_params", size.trainable)):
        assert run.figures.get(name, counted) == counted
    for name, megabytes, tolerance in (
        ("params_mb", size.megabytes, 0.005),
        ("input_mb", table.input_mb, 0.006),
        ("pass_mb", table.pass_mb, 0.006),
        ("total_mb", table.total_mb, 0.006),
    ):
        assert run.figures.get(name, megabytes) == pytest.approx(megabytes, abs=tolerance), name


def test_all_tables_of_layers_are_among_them() -> None:
    assert [len(published(name)) for name in ("params_mb", "total_mb", "total_params", "pass_mb")] == [11, 11, 10, 10]
    assert {label(run) for run in published("total_params")} < {label(run) for run in published("params_mb")}


def test_a_training_told_again_has_the_same_figures() -> None:
    again = 0
    for run in DOCUMENT.runs:
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
    for run in DOCUMENT.runs:
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
    assert {run.name for run in DOCUMENT.runs if run.test_score is None} == {
        run.name for run in DOCUMENT.runs if "No score is given" in run.note
    }


def test_claims_compare_different_recipes_of_the_document() -> None:
    assert len(DOCUMENT.claims) == 48
    for claim in DOCUMENT.claims:
        assert claim.better in DOCUMENT.runs
        assert claim.worse in DOCUMENT.runs
        assert claim.better.recipe != claim.worse.recipe


def test_every_figure_is_in_the_text(real_data: Path) -> None:
    written = document.numbers(document.text(real_data))
    lacking = [(label(run), name) for run in DOCUMENT.runs for name in run.figures if run.figures[name] not in written]
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


HEADER = (
    "chapter",
    "run",
    "backbone",
    "alpha",
    "cls_head.type",
    "cls_head.blocks",
    "cls_head.widths",
    "val_iou",
    "note",
)
GOOD = {"chapter": "Heads", "run": "one", "alpha": "0.6", "val_iou": "0.5"}


def write(path: Path, rows: Sequence[Mapping[str, str]], header: Sequence[str] = HEADER) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.DictWriter(file, header, restval="")
        lines.writeheader()
        lines.writerows(rows)
    return path


def test_empty_cells_keep_the_defaults(tmp_path: Path) -> None:
    rows = [GOOD, {"chapter": "Heads", "run": "two", "cls_head.type": "linear", "note": "as it, is"}]
    assert read(write(tmp_path / "runs.csv", rows)) == [
        Run("Heads", "one", Recipe(alpha=0.6), {"val_iou": 0.5}, ""),
        Run("Heads", "two", Recipe(cls_head=LinearHead()), {}, "as it, is"),
    ]


@pytest.mark.parametrize(
    ("bad", "rule"),
    [
        ({"val_iou": "high"}, "'high'"),
        ({"backbone": "", "alpha": "much"}, "alpha takes a value of type float"),
        ({"alpha": "7"}, "alpha is 7.0; it must be less than or equal to 1"),
        ({"cls_head.type": "round"}, "cls_head is .*'linear' or 'conv'"),
        ({"cls_head.type": "conv", "cls_head.widths": "256"}, r"no field 'cls_head\.widths'"),
        ({"cls_head.blocks": "many"}, r"cls_head\.blocks takes a value of type int"),
        ({"cls_head.blocks": "65"}, "cls_head.blocks is 65; it must be less than or equal to 64"),
    ],
)
def test_a_bad_cell_is_named_with_file_and_line(tmp_path: Path, bad: dict[str, str], rule: str) -> None:
    with pytest.raises(MilairError, match=rf"runs\.csv, line 3: .*{rule}") as caught:
        read(write(tmp_path / "runs.csv", [GOOD, GOOD | bad]))
    assert "\n" not in str(caught.value)


def test_an_unknown_field_of_a_recipes_head_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "runs.csv", [GOOD | {"cls_head.depth": "2"}], [*HEADER, "cls_head.depth"])
    with pytest.raises(MilairError, match=r"runs\.csv, line 2: .*no field 'cls_head\.depth'"):
        read(path)


def test_a_head_without_hidden_layers_is_written_as_json(tmp_path: Path) -> None:
    row = {"chapter": "Heads", "run": "one", "cls_head": '{"type": "linear", "widths": ""}'}
    (run,) = read(write(tmp_path / "runs.csv", [row], ["chapter", "run", "cls_head", "note"]))
    assert run.recipe == Recipe(cls_head=LinearHead(""))


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    rows = [GOOD | {"note": "over\ntwo lines"}, GOOD | {"alpha": "7"}]
    with pytest.raises(MilairError, match=r"runs\.csv, line 4: "):
        read(write(tmp_path / "runs.csv", rows))


@pytest.mark.parametrize("column", ["chapter", "run", "note"])
def test_a_missing_column_is_named(tmp_path: Path, column: str) -> None:
    header = [name for name in HEADER if name != column]
    with pytest.raises(MilairError, match=rf"runs\.csv: there is no column '{column}'"):
        read(write(tmp_path / "runs.csv", [], header))


@pytest.mark.parametrize("line", ["Heads,two", "Heads,two,,0.5,"])
def test_a_line_with_too_few_or_too_many_cells_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(f"chapter,run,alpha,note\nHeads,one,0.5,\n{line}\n")
    with pytest.raises(MilairError, match=r"runs\.csv, line 3: it has not as many cells"):
        read(path)


@pytest.mark.parametrize("content", [None, b"chapter,run,note\nT\xeates,one,\n"], ids=["missing", "not UTF-8"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "runs.csv"
    if content is not None:
        path.write_bytes(content)
    for reading in (lambda: read(path), lambda: read_claims(path, [])):
        with pytest.raises(MilairError, match=r"runs\.csv: cannot be read as a table of runs \("):
            reading()


def test_an_empty_file_has_no_columns(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").touch()
    with pytest.raises(MilairError, match=r"runs\.csv: there is no column 'chapter'"):
        read(tmp_path / "runs.csv")


CLAIM = {"claim": "Two is better", "chapter": "Heads", "run": "two", "than_chapter": "Heads", "than_run": "one"}


def test_claims_name_two_runs(tmp_path: Path) -> None:
    one, two = read(write(tmp_path / "runs.csv", [GOOD, GOOD | {"run": "two", "alpha": "0.5"}]))
    path = write(tmp_path / "claims.csv", [CLAIM], list(CLAIM))
    (claim,) = read_claims(path, [one, two])
    assert (claim.text, claim.better, claim.worse) == ("Two is better", two, one)
    with pytest.raises(MilairError, match=r"claims\.csv, line 2: there is no run 'two' in a chapter 'Heads'"):
        read_claims(path, [one])
    with pytest.raises(MilairError, match=r"claims\.csv, line 2: there is no run 'one' in a chapter 'Heads'"):
        read_claims(path, [two])


@pytest.mark.parametrize("column", CLAIM)
def test_a_missing_column_of_claims_is_named(tmp_path: Path, column: str) -> None:
    header = [name for name in CLAIM if name != column]
    with pytest.raises(MilairError, match=rf"claims\.csv: there is no column '{column}'"):
        read_claims(write(tmp_path / "claims.csv", [], header), [])


def test_a_space_with_a_bad_table_is_refused_with_its_line(tmp_path: Path) -> None:
    write(tmp_path / "mine.csv", [GOOD | {"alpha": "7"}])
    (tmp_path / "mine.py").write_text(
        '"""What else?"""\nfrom pathlib import Path\nfrom milair import Recipe\nfrom milair.runs import read\n'
        "BASELINE = Recipe()\nRUNS = read(Path(__file__).with_suffix('.csv'))\ndef space(trial): return BASELINE\n"
    )
    with pytest.raises(MilairError, match=r"mine\.py: cannot be loaded .*mine\.csv, line 2: .*alpha"):
        space.load("mine", tmp_path)


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


def test_recipes_stand_where_they_came_first() -> None:
    chosen = [Recipe(alpha=alpha) for alpha in (0.5, 0.4, 0.5, 0.3, 0.4)]
    runs = [Run("Alpha", str(number), recipe, {}, "") for number, recipe in enumerate(chosen)]
    assert recipes(runs) == [Recipe(alpha=0.5), Recipe(alpha=0.4), Recipe(alpha=0.3)]


published_runs = st.builds(
    Run,
    st.text(),
    st.text(),
    any_recipe.filter(lambda recipe: LinearHead("") not in (recipe.cls_head, recipe.reg_head)),  # an empty cell: 256
    st.dictionaries(
        st.sampled_from(["val_iou", "test_score", "best_epoch", "vram_gb"]),
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    st.text(),
)


def cells(run: Run) -> dict[str, str]:
    values = {"chapter": run.chapter, "run": run.name, "note": run.note}
    for name, value in {**run.recipe.to_json(), **run.figures}.items():
        parts = {f"{name}.{key}": part for key, part in value.items()} if isinstance(value, dict) else {name: value}
        values |= {key: str(part) for key, part in parts.items()}
    return values


@settings(max_examples=20)
@given(st.lists(published_runs, max_size=4, unique_by=lambda run: (run.chapter, run.name)))
def test_a_table_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, runs: list[Run]) -> None:
    rows = [cells(run) for run in runs]
    header = list(dict.fromkeys(["chapter", "run", "note", *(name for row in rows for name in row)]))
    assert read(write(tmp_path_factory.mktemp("table") / "runs.csv", rows, header)) == runs
