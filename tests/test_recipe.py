"""Recipes: frozen values that go to JSON and back, and say in one line what is wrong with them."""

from __future__ import annotations

import json
import pickle
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import heads, recipes

from milair import ConvHead, DenseHead, LinearHead, MilairError, Recipe
from milair.recipe import Head, describe


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
    assert [
        str(head)
        for head in (LinearHead("768-256"), LinearHead(""), ConvHead(4, 256), ConvHead(0, 256), DenseHead(64, 1))
    ] == [
        "linear 768-256",
        "linear direct",
        "conv 4×256",
        "conv direct",
        "dense 1×64",
    ]


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("backbone", "", "have at least 1 character"),
        ("backbone", 7, "be a valid string"),
        ("weights", "imagenet", "be 'pretrained' or 'random'"),
        ("weights", [], "be 'pretrained' or 'random'"),
        ("pooling", "max", "be 'grid', 'global' or 'own'"),
        ("normalisation", None, "be 'imagenet', 'data' or 'frames'"),
        *(
            ("image_size", size, "be 'WIDTHxHEIGHT' with sides from 32 to 4096")
            for size in ("400", "400x", "400X255", "0400x255", "400x255x3", "31x64", "64x4097", " 64x64", "-64x64")
        ),
        ("image_size", "9x64", "be 'WIDTHxHEIGHT' with sides from 32 to 4096"),
        ("image_size", 64, "be a valid string"),
        ("augmentations", 0, "be greater than or equal to 1"),
        ("augmentations", 1001, "be less than or equal to 1000"),
        *(("augmentations", count, "be a valid integer") for count in (2.0, "6", True)),
        *(("grid", grid, "be 'full' or 'COLUMNSxROWS'") for grid in ("7", "0x7", "7x100", "7x7x7", "own", "")),
        ("stages", 3, "be less than or equal to 2"),
        ("label_smoothing", 1, "be less than 1"),
        ("box_loss", "l1", "be 'iou', 'giou' or 'ciou'"),
        ("l1", -1, "be greater than or equal to 0"),
        ("optimizer", "sgd", "be 'adam' or 'adamw'"),
        ("schedule", "step", "be 'constant', 'cosine' or 'onecycle'"),
        ("warmup", 1, "be less than 1"),
        ("ema", 1, "be less than 1"),
        *(("looks", looks, "be ") for looks in (0, 3, 1.0)),
        ("crop_size", 31, "be greater than or equal to 32"),
        ("crop_margin", 0.9, "be greater than or equal to 1"),
        ("iterations", 0, "be greater than or equal to 1"),
        ("decides", "both", "be 'first', 'second' or 'mean'"),
        ("cls_head", "conv", "be a LinearHead, a ConvHead or a DenseHead"),
        ("reg_head", None, "be a LinearHead, a ConvHead or a DenseHead"),
        ("alpha", -0.01, "be greater than or equal to 0"),
        *(("alpha", alpha, "be less than or equal to 1") for alpha in (1.01, NAN, INF)),
        *(("alpha", alpha, "be a valid number") for alpha in ("0.5", True, None)),
        *(("learning_rate", rate, "be greater than 0") for rate in (0, -1e-4)),
        *(("learning_rate", rate, "be less than or equal to 1") for rate in (1.5, INF)),
        ("learning_rate", NAN, "be "),
        ("weight_decay", -1e-9, "be greater than or equal to 0"),
        *(("weight_decay", decay, "be less than or equal to 1") for decay in (2, NAN)),
        *(("batch_size", size, "be greater than or equal to 2") for size in (1, 0)),
        ("batch_size", 65537, "be less than or equal to 65536"),
        ("batch_size", 32.0, "be a valid integer"),
        ("epochs", 0, "be greater than or equal to 1"),
        ("epochs", 100_001, "be less than or equal to 100000"),
        ("epochs", 1.5, "be a valid integer"),
        ("patience", 0, "be greater than or equal to 1"),
        ("patience", 100_001, "be less than or equal to 100000"),
        ("seed", -1, "be greater than or equal to 0"),
        ("seed", 2**31, "be less than 2147483648"),
        *(("seed", seed, "be a valid integer") for seed in (1.0, False)),
    ],
)
def test_a_bad_field_is_refused_in_one_line_that_names_field_value_and_rule(name: str, value: Any, rule: str) -> None:
    with pytest.raises(MilairError) as refusal:
        Recipe(**{name: value})
    line = str(refusal.value)
    assert line.startswith(f"recipe: {name} is {value!r}; it must {rule}")
    assert "\n" not in line


@pytest.mark.parametrize(
    "widths", ["-", "256-", "-256", "256--64", "0", "256-0", "064", "a", "256 64", "256\n", "10000", 256, None, "1.5"]
)
def test_bad_widths_are_refused(widths: Any) -> None:
    rule = "whole numbers from 1 to 9999 joined by '-'" if isinstance(widths, str) else "a valid string"
    for positional, named in (((widths,), {}), ((), {"widths": widths})):
        with pytest.raises(MilairError) as refusal:
            LinearHead(*positional, **named)
        assert str(refusal.value).startswith(f"recipe: widths is {widths!r}; it must be {rule}")


@pytest.mark.parametrize(
    ("blocks", "filters", "named", "rule"),
    [
        (-1, 256, "blocks is -1", "greater than or equal to 0"),
        (65, 256, "blocks is 65", "less than or equal to 64"),
        (1.0, 256, "blocks is 1.0", "a valid integer"),
        (True, 256, "blocks is True", "a valid integer"),
        (1, 0, "filters is 0", "greater than or equal to 1"),
        (1, 8193, "filters is 8193", "less than or equal to 8192"),
    ],
)
def test_bad_conv_heads_are_refused(blocks: Any, filters: Any, named: str, rule: str) -> None:
    for positional, named_ones in (((blocks, filters), {}), ((), {"filters": filters, "blocks": blocks})):
        with pytest.raises(MilairError) as refusal:
            ConvHead(*positional, **named_ones)
        assert str(refusal.value) == f"recipe: {named}; it must be {rule}"


def test_replacing_a_field_validates_it() -> None:
    assert replace(Recipe(), alpha=1, reg_head=LinearHead("8")) == Recipe(alpha=1.0, reg_head=LinearHead("8"))
    with pytest.raises(MilairError, match="recipe: alpha is 2; it must be less than or equal to 1"):
        replace(Recipe(), alpha=2)
    with pytest.raises(MilairError, match="recipe: blocks is 65; it must be less than or equal to 64"):
        replace(ConvHead(), blocks=65)


def test_a_recipe_goes_to_another_process() -> None:
    recipe = Recipe(cls_head=LinearHead("768-256"))
    assert pickle.loads(pickle.dumps(recipe)) == recipe


def test_json_has_the_shape_that_studies_store() -> None:
    assert json.dumps(Recipe(cls_head=LinearHead("64"), alpha=1).to_json()) == (
        '{"backbone": "squeezenet1_0", "weights": "pretrained", "pooling": "grid", "normalisation": "imagenet", '
        '"grid": "7x7", "stages": 1, "image_size": "400x255", "augmentations": 6, '
        '"cls_head": {"type": "linear", "widths": "64"}, "reg_head": {"type": "conv", "blocks": 4, "filters": 256}, '
        '"alpha": 1.0, "label_smoothing": 0.0, "box_loss": "iou", "l1": 0.0, "optimizer": "adam", '
        '"schedule": "constant", "warmup": 0.0, "ema": 0.0, "learning_rate": 0.0001, "weight_decay": 1e-06, '
        '"batch_size": 32, "epochs": 200, "patience": 10, "seed": 32, "looks": 1, "crop_size": 320, '
        '"crop_margin": 1.6, "iterations": 2, "decides": "mean"}'
    )


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"alhpa": 0.5}, "no field 'alhpa'"),
        (
            {"cls_head": "conv"},
            "cls_head is 'conv'; it must be a LinearHead, a ConvHead or a DenseHead, in JSON an object with a type",
        ),
        ({"cls_head": {"blocks": 1}}, "with a type, 'linear', 'conv' or 'dense'"),
        ({"cls_head": {"type": "mlp"}}, "with a type, 'linear', 'conv' or 'dense'"),
        ({"cls_head": {"type": ["conv"]}}, "with a type, 'linear', 'conv' or 'dense'"),
        (
            {"reg_head": {"type": "conv", "widths": "64"}},
            "no field 'reg_head.widths'; a ConvHead has type, blocks, filters",
        ),
        ({"reg_head": {"type": "conv", "blocks": "2"}}, "reg_head.blocks is '2'; it must be a valid integer"),
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
        ("cls_head", "conv", 'takes JSON, as {"type": "conv"}'),
        ("cls_head", "[]", "an object with a type, 'linear', 'conv' or 'dense'"),
        ("cls_head", '{"type": []}', "an object with a type, 'linear', 'conv' or 'dense'"),
        ("alpha", "2", "recipe: alpha is 2.0; it must be less than or equal to 1"),
        ("alpha", "nan", "recipe: alpha is nan"),
        ("cls_head.type", "linear", "no field 'cls_head.blocks'; a LinearHead has type, widths"),
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


def test_what_is_particular_about_a_trial() -> None:
    recipe = Recipe().to_json()
    assert describe(recipe, {"backbone": "squeezenet1_0", "alpha": 0.123456}) == "backbone squeezenet1_0, alpha 0.1235"
    assert describe(recipe, {"cls_head.blocks": 1, "alpha": 0.5}) == "cls conv 1×256, reg conv 4×256, alpha 0.5"
    assert describe(recipe, {}) == "cls conv 1×256, reg conv 4×256"
    reference = Recipe(looks=2, schedule="cosine", seed=33).to_json()
    assert describe(reference, {}) == "cls conv 1×256, reg conv 4×256, schedule cosine, looks 2"
