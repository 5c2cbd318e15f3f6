"""How good can it get, with dense heads, a second look and the optimisation that suits them?

    python -m milair.search --study beyond --data DIR

The space for one's own frames. The document's best is trained first, as a reference, then the recipe from which this
space goes on. What needs another bank is fixed, and may be set: `--set backbone=resnet50`, `--set crop_size=256`.

To expect, on the competition's 189 frames with ImageNet weights: 0.78 to 0.83 with one look, 0.83 to 0.88 with two;
half a minute to nine minutes a training on one core of an AMD EPYC. docs/beyond.md has more. Chance baseline: 0.24.
"""

from dataclasses import replace

from milair import Recipe, Trial

from . import dense, heads, looks

REFERENCES = [heads.BASELINE]  # the document's best
BASELINE = looks.BASELINE


def space(trial: Trial) -> Recipe:
    recipe = replace(
        BASELINE,
        looks=trial.suggest_int("looks", 1, 2),
        augmentations=trial.suggest_categorical("augmentations", [4, 6, 12]),
        cls_head=dense.head(trial, "cls_head"),
        reg_head=dense.head(trial, "reg_head"),
        alpha=trial.suggest_float("alpha", 0.5, 0.9, step=0.1),
        box_loss=trial.suggest_categorical("box_loss", ["iou", "giou", "ciou"]),
        ema=trial.suggest_categorical("ema", [0.0, 0.9, 0.98]),
        learning_rate=trial.suggest_float("learning_rate", 3e-4, 3e-3, log=True),
        epochs=trial.suggest_categorical("epochs", [15, 25, 40]),
    )
    return looks.cascade(trial, recipe, [BASELINE.crop_size]) if recipe.looks == 2 else recipe
