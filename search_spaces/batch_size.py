"""How many views should one step of the optimizer see?

    python -m milair.search --study batch_size --data DIR --sampler grid --pruner none --trials 12

To expect, on the competition's 189 frames with ImageNet weights, one seed each: 0.719 with 16, 0.701 with 32, 0.698
with 64, 0.685 with 128; three seeds of 32 alone lay from 0.686 to 0.716. One to two minutes a training on one core of
an AMD EPYC, four with 16.
"""

from dataclasses import replace

from milair.recipe import Recipe
from milair.space import Trial

from .alpha import BASELINE as BASELINE

SIZES = [16, 32, 64, 128]


def space(trial: Trial) -> Recipe:
    return replace(
        BASELINE,
        batch_size=trial.suggest_categorical("batch_size", SIZES),
        seed=trial.suggest_categorical("seed", [32, 33, 34]),
    )
