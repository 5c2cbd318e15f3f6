"""A space's first recipes as a study: each of them once, none pruned, none on weights that are not there."""

import json
from pathlib import Path

import first
import optuna
import pytest
from optuna.trial import TrialState
from tiny import frames, search

from milair import space
from milair.errors import MilairError
from milair.recipe import Recipe
from milair.study import kept, samplers, storage
from milair.study.session import read_frames
from milair.study.settings import SAMPLE, SAMPLE_OVERRIDES, new_settings


@pytest.fixture
def options(tmp_path: Path) -> list[str]:
    return first.make(tmp_path)


def load(folder: Path) -> optuna.Study:
    return storage.load_study(storage.open_storage(storage.default_url(folder / "studies"), create=False), "first")


def trained(folder: Path) -> list[Recipe]:
    return [Recipe.from_json(kept.trained(trial)) for trial in load(folder).trials]


def test_each_first_recipe_runs_once_and_those_without_weights_wait_for_their_file(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    one, other, conv = space.load("first", tmp_path / "spaces").first
    assert search(options, "--json") == 0  # no --trials: all that can be run
    told = json.loads(capsys.readouterr().out)
    assert trained(tmp_path) == [one, conv]
    file = tmp_path / "weights" / "squeezenet1_0.pth"
    assert {"backbone": "squeezenet1_0", "file": str(file), "recipes": 1} in told["waiting_for"]
    assert {row["backbone"] for row in told["waiting_for"]} == {"squeezenet1_0", "resnet18"}

    assert search(options) == 0
    assert "nothing to do" in capsys.readouterr().out
    first.give_weights(tmp_path, "squeezenet1_0")
    assert search(options) == 0
    assert trained(tmp_path) == [one, conv, other]
    out = capsys.readouterr().out
    assert f"resnet18           {tmp_path / 'weights' / 'resnet18.pth'}" in out
    assert str(file) not in out
    assert all(trial.state == TrialState.COMPLETE and trial.user_attrs["pinned"] for trial in load(tmp_path).trials)

    assert search(options, "--trials", "7", "--pruner", "none", "--sampler", "random") == 0
    beyond = trained(tmp_path)[3:]
    assert len(beyond) == 4
    assert "resnet18" not in {recipe.backbone for recipe in beyond}


def test_a_grid_without_weights_is_the_rest_of_the_grid(tmp_path: Path, options: list[str]) -> None:
    chosen = space.load("first", tmp_path / "spaces")
    every = samplers.shuffled(chosen, 0, {})
    available = samplers.shuffled(chosen, 0, {"backbone": ["squeezenet1_0", "resnet18"]})
    assert (len(every or []), len(available or [])) == (48, 16)
    assert options


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_a_sampler_leaves_out_what_it_is_told_to(kind: str) -> None:
    found = optuna.create_study(sampler=samplers.Sampler(kind, 0, {"x": {"a", "b"}}), direction="maximize")
    for _ in range(30):
        trial = found.ask()
        drawn = trial.suggest_categorical("x", ["a", "b", "c", "d"])
        extra = trial.suggest_float("y", 0, 1) if drawn == "c" else 0.5
        found.tell(trial, extra)
    assert {trial.params["x"] for trial in found.trials} == {"c", "d"}


def test_a_narrowed_space_leaves_recipes_out_and_one_outside_of_its_space_is_said(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert search(options, "--only", "cls_head.type=conv", "--epochs", "1") == 0
    assert [recipe.cls_head.type for recipe in trained(tmp_path)] == ["conv"]
    file = tmp_path / "spaces" / "first" / "__init__.py"
    file.write_text(file.read_text().replace('LinearHead("8")', 'LinearHead("9")'))
    capsys.readouterr()
    assert search(options, "--name", "another") == 1
    assert "a recipe with cls_head.widths='9' is not in the space" in capsys.readouterr().err


def test_the_sample_keeps_its_quick_settings_where_the_space_does_not_vary_them() -> None:
    chosen = space.load("backbones", space.default_folder())
    made = new_settings(chosen, SAMPLE, read_frames(str(frames())))
    assert "backbone" not in made.overrides
    assert made.overrides["epochs"] == SAMPLE_OVERRIDES["epochs"]


def test_spaces_import_the_files_beside_them(tmp_path: Path) -> None:
    for name, width in (("one", 4), ("other", 8)):  # two folders with files of the same names
        folder = tmp_path / name
        folder.mkdir()
        (folder / "shared.py").write_text(f"WIDTH = '{width}'")
        (folder / "wide.py").write_text(
            "from milair import LinearHead, Recipe\nfrom .shared import WIDTH\n"
            "BASELINE = Recipe(cls_head=LinearHead(WIDTH))\n"
            "def space(trial):\n    return BASELINE\n"
        )
    widths = [space.load("wide", tmp_path / name).baseline.cls_head for name in ("one", "other", "one")]
    assert [str(head) for head in widths] == ["linear 4", "linear 8", "linear 4"]


@pytest.mark.parametrize("line", ["FIRST = ['one']", "SECTIONS = ['# one']"])
def test_first_holds_recipes_and_sections_functions(tmp_path: Path, line: str) -> None:
    text = f'"""What?"""\nfrom milair import Recipe\nBASELINE = Recipe()\n{line}\ndef space(trial): return BASELINE\n'
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(MilairError, match=r"mine\.py: .*FIRST and REFERENCES hold Recipes, SECTIONS functions"):
        space.load("mine", tmp_path)


def test_a_folder_with_an_init_file_is_a_space(tmp_path: Path, options: list[str]) -> None:
    spaces = tmp_path / "spaces"
    found = space.load("first", spaces)
    assert (found.name, found.question, len(found.first)) == ("first", "Which small recipe?", 3)
    assert [section.__name__ for section in found.sections] == ["count", "nothing"]
    assert space.load(str(found.path), spaces).first == found.first  # as a worker does
    with pytest.raises(MilairError, match="there are: first"):
        space.load("nothing", spaces)
    assert options
