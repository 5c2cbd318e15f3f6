"""How many views should one step of the optimizer see?

python -m milair.search --study batch_size --data DIR --sampler grid --pruner none --trials 12
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
