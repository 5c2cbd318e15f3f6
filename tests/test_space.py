"""One contract over every search space that ships, and the rules of loading one."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import FixedTrial

from milair import space
from milair.errors import MilairError
from milair.recipe import Recipe
from milair.space import Value

SPACES = Path(space.__file__).parent.parent / "search_spaces"
NAMES = sorted(path.stem for path in SPACES.glob("*.py"))


@pytest.mark.parametrize("name", NAMES)
class TestEverySpace:
    def test_parameters_rebuild_the_recipe_they_gave(self, name: str) -> None:
        chosen = space.load(name, SPACES)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
        for _ in range(200):
            trial = study.ask()
            recipe = chosen(trial)
            assert chosen(FixedTrial(trial.params)) == recipe
            assert chosen.answers(recipe) == trial.params
            assert Recipe.from_json(recipe.to_json()) == recipe

    def test_baseline_is_in_the_space(self, name: str) -> None:
        chosen = space.load(name, SPACES)
        assert chosen(FixedTrial(chosen.answers(chosen.baseline))) == chosen.baseline

    def test_exploring_finds_every_parameter_that_optuna_ever_saw(self, name: str) -> None:
        chosen = space.load(name, SPACES)
        study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=2))
        seen: set[str] = set()
        for _ in range(500):
            trial = study.ask()
            chosen(trial)
            seen |= trial.params.keys()
        assert chosen.dimensions().keys() == seen

    def test_it_opens_with_a_question(self, name: str) -> None:
        assert space.load(name, SPACES).question.endswith("?")


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text(text)
    return path


def test_a_space_is_loaded_by_its_path(tmp_path: Path) -> None:
    text = '"""Is alpha half?"""\nfrom milair import Recipe\nBASELINE = Recipe()\ndef space(trial): return BASELINE\n'
    path = write(tmp_path, text)
    assert space.load(str(path), Path("nowhere")).question == "Is alpha half?"
    assert space.load("mine", tmp_path).name == "mine"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("1 +", "cannot be loaded"),
        ("import no_such_module", "no_such_module"),
        ("raise SystemError('x')", "SystemError"),
        ("space = 1", "BASELINE"),
        ("from milair import Recipe\nBASELINE = Recipe(alpha=7)\n", "alpha"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, rule: str) -> None:
    with pytest.raises(MilairError, match=rule) as caught:
        space.load(str(write(tmp_path, text)), tmp_path)
    assert "mine.py" in str(caught.value)


def test_a_space_that_fails_is_named(tmp_path: Path) -> None:
    text = (
        "from milair import Recipe\nBASELINE = Recipe()\ndef space(trial): return trial.suggest_uniform('alpha', 0)\n"
    )
    with pytest.raises(MilairError, match=r"mine\.py: space\(trial\) failed \(AttributeError"):
        space.load(str(write(tmp_path, text)), tmp_path).dimensions()


def test_an_unknown_name_lists_what_is_there() -> None:
    with pytest.raises(MilairError, match=r"no such search space.*heads"):
        space.load("nope", SPACES)


def test_a_parameter_must_be_a_path_in_the_recipe(tmp_path: Path) -> None:
    text = (
        "from milair import Recipe\nBASELINE = Recipe()\n"
        "def space(trial):\n"
        "    trial.suggest_int('depth', 1, 2)\n"
        "    return BASELINE\n"
    )
    with pytest.raises(MilairError, match="'depth' is no dotted path"):
        space.load(str(write(tmp_path, text)), tmp_path).answers(Recipe())


def test_a_recipe_outside_the_space_is_refused() -> None:
    heads = space.load("heads", SPACES)
    with pytest.raises(MilairError, match=r"cls_head\.filters=99"):
        heads.answers(heads.baseline.override({"cls_head.filters": "99"}))
    with pytest.raises(MilairError, match=r"cannot give alpha 0\.1 \(but 0\.7\)"):
        heads.answers(heads.baseline.override({"alpha": "0.1"}))


def test_one_name_has_one_range(tmp_path: Path) -> None:
    text = (
        "from milair import Recipe\nBASELINE = Recipe()\n"
        "def space(trial):\n"
        "    pooling = trial.suggest_categorical('pooling', ['own', 'grid'])\n"
        "    trial.suggest_int('epochs', 1, 2 if pooling == 'own' else 3)\n"
        "    return BASELINE\n"
    )
    with pytest.raises(MilairError, match="two different ranges"):
        space.load(str(write(tmp_path, text)), tmp_path).dimensions()


def configurations(tmp_path: Path, body: str) -> list[dict[str, Value]] | None:
    (tmp_path / "s.py").write_text(
        "from dataclasses import replace\nfrom milair import Recipe, ConvHead, LinearHead\n"
        f"BASELINE = Recipe()\ndef space(trial):\n    {body}\n"
    )
    return space.load("s", tmp_path).configurations()


def test_a_space_with_an_end_is_walked_to_it(tmp_path: Path) -> None:
    found = configurations(
        tmp_path,
        """n = trial.suggest_int("cls_head.blocks", 0, 4, step=2)
    f = trial.suggest_categorical("cls_head.filters", [8, 16]) if n else 8
    trial.suggest_int("cls_head.blocks", 0, 4, step=2)
    return replace(BASELINE, alpha=trial.suggest_float("alpha", 0.5, 0.8, step=0.1), cls_head=ConvHead(n, f))""",
    )
    assert found is not None
    assert len(found) == len({repr(sorted(point.items())) for point in found}) == (1 + 2 * 2) * 4
    assert found[0] == {"cls_head.blocks": 0, "alpha": 0.5}
    assert {tuple(point) for point in found[4:]} == {("cls_head.blocks", "cls_head.filters", "alpha")}


def test_a_space_without_an_end_or_with_too_many_points_is_not_walked(tmp_path: Path) -> None:
    assert configurations(tmp_path, 'return replace(BASELINE, alpha=trial.suggest_float("alpha", 0, 1))') is None
    assert configurations(tmp_path, 'return replace(BASELINE, seed=trial.suggest_int("seed", 1, 10**6))') is None


def test_a_space_that_varies_nothing_has_one_point(tmp_path: Path) -> None:
    assert configurations(tmp_path, "return BASELINE") == [{}]


def test_all_that_the_heads_space_gives_is_counted() -> None:
    found = space.load("heads", space.default_folder()).configurations()
    assert found is not None
    assert len(found) == (11 + 1 + 5 * 3) ** 2
