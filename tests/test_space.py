"""One contract over every search space that ships, and the rules of loading one."""

import math
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.trial import FixedTrial

from milair import space
from milair.errors import MilairError
from milair.recipe import Recipe
from milair.space import Domain, Trial, Value

SPACES = Path(space.__file__).parent.parent / "search_spaces"
NAMES = space.names(SPACES)


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


MINE = "from milair import Recipe\nBASELINE = Recipe()\ndef space(trial): return BASELINE\n"


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
        ("space = 1", "no attribute 'BASELINE'"),
        ("from milair import Recipe\nBASELINE = Recipe()\n", "no attribute 'space'"),
        (MINE + "BASELINE = {'alpha': 0.5}\n", "BASELINE is a Recipe"),
        (MINE + "space = BASELINE\n", r"space\(trial\) -> Recipe a function"),
        ("raise ValueError('one\\nand another')", r"ValueError: one\)"),
        ("from milair import Recipe\nBASELINE = Recipe(alpha=7)\n", "alpha"),
        (MINE + "FIRST = BASELINE\n", "not iterable"),
        (MINE + "FIRST = [BASELINE, {'alpha': 0.5}]\n", "mine.py: .* FIRST and REFERENCES hold Recipes"),
        (MINE + "SECTIONS = ['# Chapter']\n", "mine.py: .* SECTIONS functions"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str, rule: str) -> None:
    with pytest.raises(MilairError, match=rule) as caught:
        space.load(str(write(tmp_path, text)), tmp_path)
    assert "mine.py" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_space_may_say_what_is_trained_first_and_have_sections_of_its_report(tmp_path: Path) -> None:
    text = MINE + "FIRST = [Recipe(alpha=0.5)]\nSECTIONS = [lambda evidence, folder: f'{evidence} in {folder}']\n"
    chosen = space.load(str(write(tmp_path, text)), tmp_path)
    assert chosen.first == (Recipe(alpha=0.5),)
    assert [section("figures", tmp_path) for section in chosen.sections] == [f"figures in {tmp_path}"]


def test_a_space_may_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "other.py").write_text("from milair import Recipe\nBASELINE = Recipe(alpha=0.25)\n")
    folder = tmp_path / "whole"
    folder.mkdir()
    (folder / "part.py").write_text("from milair import Recipe\nFIRST = [Recipe(alpha=0.5)]\n")
    (folder / "__init__.py").write_text(
        '"""Is it whole?"""\nfrom ..other import BASELINE\nfrom .part import FIRST\ndef space(trial): return BASELINE\n'
    )
    chosen = space.load("whole", tmp_path)
    assert (chosen.name, chosen.path, chosen.question) == ("whole", folder / "__init__.py", "Is it whole?")
    assert (chosen.baseline, chosen.first) == (Recipe(alpha=0.25), (Recipe(alpha=0.5),))
    for path in (chosen.path, tmp_path / "whole.py"):  # a worker gets the path, a person may write a file's
        again = space.load(str(path), Path())
        assert (again.name, again.path, again.baseline) == ("whole", chosen.path, chosen.baseline)
    assert space.names(tmp_path) == ["other", "whole"]


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


def test_a_step_is_held_when_a_recipe_answers() -> None:
    joint = space.load("joint", SPACES)
    for alpha in (0.5, 0.6, 0.7, 0.8, 0.9, 0.5 + 2 * 0.1):
        assert joint.answers(joint.baseline.override({"alpha": str(alpha)}))["alpha"] == alpha
    for outside in ("0.65", "0.4", "1.0"):
        with pytest.raises(
            MilairError, match=rf"alpha={outside} is not in the space; it must be from 0\.5 to 0\.9 by 0\.1"
        ):
            joint.answers(joint.baseline.override({"alpha": outside}))


def test_a_space_that_is_narrowed_keeps_what_it_can_of_the_baseline() -> None:
    heads = space.load("heads", SPACES)
    fewer = heads.narrowed({"cls_head.type": ["linear"], "reg_head.filters": ["64", "128"]})
    assert fewer.baseline == heads.baseline.override(
        {"cls_head": '{"type": "linear", "widths": "64"}', "reg_head.filters": "64"}
    )
    linear = space.load("joint", SPACES).narrowed({"cls_head.type": ["conv"]})  # no blocks to keep: the fewest
    assert str(linear.baseline.cls_head) == "conv direct"
    assert heads.narrowed({}) == heads


@pytest.mark.parametrize(
    ("domain", "json", "text"),
    [
        (Domain("choices", ("a", 1, None)), {"choices": ["a", 1, None]}, "one of ['a', 1, None]"),
        (Domain("int", (0, 5), 1), {"int": [0, 5], "step": 1, "log": False}, "from 0 to 5 by 1"),
        (Domain("float", (0.5, 0.9), 0.1), {"float": [0.5, 0.9], "step": 0.1, "log": False}, "from 0.5 to 0.9 by 0.1"),
        (Domain("float", (1e-5, 1), None, True), {"float": [1e-5, 1], "step": None, "log": True}, "from 1e-05 to 1"),
    ],
)
def test_a_domain_in_json_as_studies_store_it_and_as_a_rule(domain: Domain, json: dict[str, object], text: str) -> None:
    assert domain.to_json() == json
    assert str(domain) == text


steps = st.floats(1e-3, 1).map(lambda step: round(step, 3))


@given(st.floats(-9, 9).map(lambda low: round(low, 3)), st.integers(0, 50), steps, st.floats(0, 0.9))
def test_a_stepped_range_has_the_values_that_optuna_draws(low: float, last: int, step: float, rest: float) -> None:
    domain = Domain("float", (low, low + last * step + rest * step), step)
    values = domain.values(51)
    assert values is not None
    assert len(values) == last + 1
    assert all(value in domain for value in values)
    assert not any(value + step * share in domain for value in values for share in (-0.5, 0.5, 1e-3))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = FloatDistribution(low, round(low + last * step, 9), step=step)
    assert all(study.ask({"alpha": drawn}).params["alpha"] in domain for _ in range(3))


@pytest.mark.parametrize(
    ("domain", "inside", "outside"),
    [
        (Domain("choices", (16, "400x255")), [16, "400x255"], [32, "16", None]),
        (Domain("int", (1, 9), 4), [1, 5, 9], [0, 2, 13, 1.5, "5", None]),
        (Domain("float", (0, 1)), [0, 0.123, 1], [-0.1, 1.1, math.nan, "0.5", None]),
        (Domain("float", (0, 0.3), 0.1), [0.1, 0.2, 0.3], [0.15, 0.4, math.nan, math.inf, "0.1", None]),
    ],
)
def test_what_is_in_a_domain(domain: Domain, inside: list[Value], outside: list[Value]) -> None:
    assert all(value in domain for value in inside)
    assert not any(value in domain for value in outside)


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


def test_a_range_that_its_step_does_not_divide_ends_before_it() -> None:
    values = Domain("float", (0.5, 0.96), 0.1).values(9)
    assert values == [0.5, 0.6, 0.7, 0.8, 0.9]


def test_a_huge_space_says_so_without_being_walked(tmp_path: Path) -> None:
    body = 'return replace(BASELINE, alpha=trial.suggest_float("alpha", 0, 1, step=1e-9))'
    assert configurations(tmp_path, body) is None
    joint = space.load("joint", SPACES)
    trials = []

    def counted(trial: Trial) -> Recipe:
        trials.append(trial)
        return joint.function(trial)

    assert replace(joint, function=counted).configurations(500) is None
    assert 0 < len(trials) <= 500
    heads = space.load("heads", SPACES)
    assert heads.configurations(27**2 - 1) is None
    assert len(heads.configurations(27**2) or []) == 27**2


def test_a_space_that_varies_nothing_has_one_point(tmp_path: Path) -> None:
    assert configurations(tmp_path, "return BASELINE") == [{}]


def test_all_that_the_heads_space_gives_is_counted() -> None:
    found = space.load("heads", space.default_folder()).configurations()
    assert found is not None
    assert len(found) == (11 + 1 + 5 * 3) ** 2
