"""Which optimizer, schedule, loss and average of the weights get the most out of dense heads?

    python -m milair.search --study optimisation --data DIR --trials 40

To expect, on the competition's 189 frames with ImageNet weights: the baseline 0.795 to 0.826 over five seeds, 28 s each
on one core of an AMD EPYC. docs/beyond.md has more. Chance baseline: 0.24.
"""

from dataclasses import replace

from milair import Recipe, Trial

from .dense import BASELINE as BASELINE


def space(trial: Trial) -> Recipe:
    recipe = replace(
        BASELINE,
        optimizer=trial.suggest_categorical("optimizer", ["adam", "adamw"]),
        schedule=trial.suggest_categorical("schedule", ["constant", "cosine", "onecycle"]),
        learning_rate=trial.suggest_float("learning_rate", 1e-4, 1e-2, log=True),
        weight_decay=trial.suggest_categorical("weight_decay", [1e-6, 1e-4, 1e-2, 0.1]),
        label_smoothing=trial.suggest_categorical("label_smoothing", [0.0, 0.05, 0.1, 0.2]),
        box_loss=trial.suggest_categorical("box_loss", ["iou", "giou", "ciou"]),
        l1=trial.suggest_categorical("l1", [0.0, 0.5, 1.0, 2.0]),
        ema=trial.suggest_categorical("ema", [0.0, 0.9, 0.98, 0.995]),
    )
    warmup = trial.suggest_categorical("warmup", [0.0, 0.05, 0.1, 0.3]) if recipe.scheduled else 0.0
    return replace(recipe, warmup=warmup)
