"""Recipes: frozen values that go to JSON and back, and say in one line what is wrong with them."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import heads, recipes

from milair import ConvHead, LinearHead, MilairError, Recipe
from milair.recipe import Head


@given(recipes)
def test_a_recipe_survives_json(recipe: Recipe) -> None:
    assert Recipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@given(recipes)
def test_equal_recipes_hash_alike_and_another_seed_differs(recipe: Recipe) -> None:
    again = Recipe.from_json(recipe.to_json())
    assert hash(again) == hash(recipe)
    assert recipe.override({"seed": str(recipe.seed ^ 1)}) != recipe


@given(recipes, recipes)
def test_setting_every_field_of_a_recipe_gives_the_other(recipe: Recipe, other: Recipe) -> None:
    settings = {
        name: json.dumps(value) if isinstance(value, dict) else str(value) for name, value in other.to_json().items()
    }
    assert recipe.override(settings) == other


@given(recipes, heads)
def test_a_head_is_set_field_by_field(recipe: Recipe, head: Head) -> None:
    whole = recipe.override({"cls_head": json.dumps({"type": head.type})})
    parts = {f"cls_head.{name}": str(value) for name, value in recipe.to_json()["cls_head"].items() if name != "type"}
    assert recipe.override(parts) == recipe
    assert type(whole.cls_head) is type(head)
    assert whole.reg_head == recipe.reg_head


def test_the_defaults_are_the_documents_best_run() -> None:
    recipe = Recipe()
    assert (recipe.backbone, recipe.size, recipe.alpha) == ("squeezenet1_0", (400, 255), 0.7)
    assert (recipe.cls_head, recipe.reg_head) == (ConvHead(1, 256), ConvHead(4, 256))
    assert (recipe.batch_size, recipe.augmentations, recipe.learning_rate) == (32, 6, 1e-4)
    assert (recipe.weight_decay, recipe.patience, recipe.epochs, recipe.seed) == (1e-6, 10, 200, 32)


def test_fields_left_out_keep_their_defaults() -> None:
    assert Recipe.from_json({}) == Recipe()
    assert Recipe.from_json({"alpha": 0.2, "reg_head": {"type": "linear"}}) == Recipe(alpha=0.2, reg_head=LinearHead())


def test_recipes_and_heads_are_frozen() -> None:
    for value, name in ((Recipe(), "alpha"), (ConvHead(), "blocks"), (LinearHead(), "widths")):
        with pytest.raises(FrozenInstanceError):
            setattr(value, name, getattr(value, name))


def test_linear_widths_and_names() -> None:
    assert LinearHead("768-256").sizes == (768, 256)
    assert LinearHead("").sizes == ()
    assert [str(head) for head in (LinearHead("768-256"), LinearHead(""), ConvHead(4, 256), ConvHead(0, 256))] == [
        "linear 768-256",
        "linear direct",
        "conv 4×256",
        "conv direct",
    ]


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("backbone", "", "the name of a torchvision model"),
        ("backbone", 7, "the name of a torchvision model"),
        ("weights", "imagenet", "'pretrained' or 'random'"),
        ("weights", [], "'pretrained' or 'random'"),
        ("pooling", "max", "'grid', 'global' or 'own'"),
        ("normalisation", None, "'imagenet' or 'data'"),
        *(
            ("image_size", size, "'WIDTHxHEIGHT'")
            for size in ("400", "400x", "400X255", "0400x255", "400x255x3", "31x64", "64x4097", " 64x64", "-64x64", 64)
        ),
        *(("augmentations", count, "from 1 to 1000") for count in (0, 1001, 2.0, "6", True)),
        ("cls_head", "conv", "a LinearHead or a ConvHead"),
        ("reg_head", None, "a LinearHead or a ConvHead"),
        *(("alpha", alpha, "from 0 to 1") for alpha in (-0.01, 1.01, NAN, INF, "0.5", True, None)),
        *(("learning_rate", rate, "above 0, at most 1") for rate in (0, -1e-4, 1.5, NAN, INF)),
        *(("weight_decay", decay, "from 0 to 1") for decay in (-1e-9, 2, NAN)),
        *(("batch_size", size, "from 2 to 65536") for size in (1, 0, 65537, 32.0)),
        *(("epochs", epochs, "from 1 to 100000") for epochs in (0, 100_001, 1.5)),
        *(("patience", patience, "from 1 to 100000") for patience in (0, 100_001)),
        *(("seed", seed, "from 0 to 2147483647") for seed in (-1, 2**31, 1.0, False)),
    ],
)
def test_a_bad_field_is_refused_in_one_line_that_names_field_value_and_rule(name: str, value: Any, rule: str) -> None:
    with pytest.raises(MilairError) as refusal:
        Recipe(**{name: value})
    line = str(refusal.value)
    assert line.startswith(f"recipe: {name} is {value!r}; it must be ")
    assert rule in line
    assert "\n" not in line


@pytest.mark.parametrize(
    "widths", ["-", "256-", "-256", "256--64", "0", "256-0", "064", "a", "256 64", 256, None, "1.5"]
)
def test_bad_widths_are_refused(widths: Any) -> None:
    with pytest.raises(
        MilairError, match=r"recipe: widths is .*; it must be whole numbers from 1 to 9999 joined by '-'"
    ):
        LinearHead(widths)


@pytest.mark.parametrize(
    ("blocks", "filters", "named"),
    [
        (-1, 256, "blocks"),
        (65, 256, "blocks"),
        (1.0, 256, "blocks"),
        (True, 256, "blocks"),
        (1, 0, "filters"),
        (1, 8193, "filters"),
    ],
)
def test_bad_conv_heads_are_refused(blocks: Any, filters: Any, named: str) -> None:
    with pytest.raises(MilairError, match=rf"recipe: {named} is .*; it must be a whole number from"):
        ConvHead(blocks, filters)


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"alhpa": 0.5}, "no field 'alhpa'"),
        ({"cls_head": "conv"}, "cls_head is 'conv'; it must have a type"),
        ({"cls_head": {"blocks": 1}}, "it must have a type, 'linear' or 'conv'"),
        ({"cls_head": {"type": "mlp"}}, "it must have a type, 'linear' or 'conv'"),
        ({"cls_head": {"type": ["conv"]}}, "it must have a type, 'linear' or 'conv'"),
        ({"reg_head": {"type": "conv", "widths": "64"}}, "reg_head of type 'conv' has no field 'widths'"),
        ({"reg_head": {"type": "conv", "blocks": "2"}}, "blocks is '2'"),
    ],
)
def test_bad_json_is_refused_in_one_line(values: dict[str, Any], named: str) -> None:
    with pytest.raises(MilairError) as refusal:
        Recipe.from_json(values)
    assert named in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"alpha": "0.5"}, Recipe(alpha=0.5)),
        ({"learning_rate": "1e-3", "seed": "7"}, Recipe(learning_rate=1e-3, seed=7)),
        ({"cls_head.blocks": "0"}, Recipe(cls_head=ConvHead(0, 256))),
        ({"cls_head": '{"type": "linear", "widths": "64"}'}, Recipe(cls_head=LinearHead("64"))),
        ({"cls_head": '{"type": "linear"}', "cls_head.widths": "64-32"}, Recipe(cls_head=LinearHead("64-32"))),
        ({}, Recipe()),
    ],
)
def test_override(settings: dict[str, str], expected: Recipe) -> None:
    assert Recipe().override(settings) == expected


@pytest.mark.parametrize("field", ["alpha", "learning_rate", "weight_decay"])
def test_a_real_field_that_holds_a_whole_number_still_takes_a_fraction(field: str) -> None:
    recipe = Recipe(**{field: 1})  # type: ignore[arg-type]
    assert getattr(recipe.override({field: "0.5"}), field) == 0.5
    assert json.dumps(recipe.to_json()) == json.dumps(Recipe(**{field: 1.0}).to_json())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "text", "named"),
    [
        ("alhpa", "0.5", "--set alhpa=0.5: a recipe has no field 'alhpa'"),
        ("cls_head.widths", "64", "a recipe has no field 'cls_head.widths'"),
        ("alpha.x", "1", "a recipe has no field 'alpha.x'"),
        ("cls_head.type.x", "1", "a recipe has no field 'cls_head.type.x'"),
        ("", "1", "a recipe has no field ''"),
        (".", "1", "a recipe has no field '.'"),
        ("batch_size", "many", "--set batch_size=many: batch_size takes a value of type int"),
        ("batch_size", "32.5", "takes a value of type int"),
        ("alpha", "", "takes a value of type float"),
        ("cls_head", "conv", "takes a value of type JSON"),
        ("cls_head", "[]", "it must have a type"),
        ("cls_head", '{"type": []}', "it must have a type"),
        ("alpha", "2", "recipe: alpha is 2.0; it must be a number from 0 to 1"),
        ("alpha", "nan", "recipe: alpha is nan"),
        ("cls_head.type", "linear", "has no field 'blocks'"),
    ],
)
def test_a_bad_override_is_refused_in_one_line(path: str, text: str, named: str) -> None:
    with pytest.raises(MilairError) as refusal:
        Recipe().override({path: text})
    assert named in str(refusal.value)
    assert "\n" not in str(refusal.value)


@given(
    st.sampled_from([*Recipe().to_json(), "cls_head.blocks", "reg_head.type"]) | st.text(max_size=9),
    st.text(max_size=9),
)
def test_an_override_gives_a_recipe_or_a_milair_error(path: str, text: str) -> None:
    try:
        recipe = Recipe().override({path: text})
    except MilairError:
        return
    assert Recipe.from_json(recipe.to_json()) == recipe
