"""Which picture size, width x height in pixels, is worth its features, once the grid is 7x7 anyway?

python -m milair.search --study image_size --data DIR --sampler grid --pruner none --trials 30
"""

from dataclasses import replace

from milair.recipe import Recipe
from milair.space import Trial

BASELINE = Recipe(normalisation="data")

SIZES = [
    "350x205",
    "400x255",
    "400x300",
    "400x400",
    "430x285",
    "450x305",
    "454x255",
    "500x355",
    "704x400",
    "1152x648",
]


def space(trial: Trial) -> Recipe:
    return replace(
        BASELINE,
        image_size=trial.suggest_categorical("image_size", SIZES),
        seed=trial.suggest_categorical("seed", [32, 33, 34]),
    )
