"""Does a second look at a crop about the object pay, and how should it look?

    python -m milair.search --study looks --data DIR --trials 30

Each `crop_size` has crops of its own in the bank.

To expect, on the competition's 189 frames with ImageNet weights: 0.78 to 0.83 with one look, 0.83 to 0.88 with two;
half a minute to nine minutes a training on one core of an AMD EPYC. docs/beyond.md has more. Chance baseline: 0.24.
"""

from dataclasses import replace

from milair import Recipe, Trial

from .dense import BASELINE as DENSE

BASELINE = replace(DENSE, looks=2)


def space(trial: Trial) -> Recipe:
    recipe = replace(DENSE, looks=trial.suggest_int("looks", 1, 2))
    return cascade(trial, recipe) if recipe.looks == 2 else recipe


def cascade(trial: Trial, recipe: Recipe, crop_sizes: list[int] = [192, 256, 320]) -> Recipe:  # noqa: B006
    return replace(
        recipe,
        crop_size=trial.suggest_categorical("crop_size", crop_sizes),
        crop_margin=trial.suggest_float("crop_margin", 1.4, 2.0, step=0.1),
        iterations=trial.suggest_int("iterations", 1, 3),
        decides=trial.suggest_categorical("decides", ["first", "second", "mean"]),
    )
