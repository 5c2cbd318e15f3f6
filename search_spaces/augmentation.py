"""How many freshly drawn views of each picture make an epoch, and does the answer hang on the picture's size?

    python -m milair.search --study augmentation --data DIR --sampler grid --pruner none --trials 54

To expect, on the competition's 189 frames with ImageNet weights, at 400x255: 0.755 with two views (one seed), 0.804
with four (one), 0.795 and 0.802 with six (two), 0.791 to 0.818 with eight (three). 50 to 84 epochs, five minutes a
training with two views, 8 to 17 with six or eight, on one core of an AMD EPYC.
"""

from dataclasses import replace

from milair.recipe import Recipe
from milair.space import Trial

BASELINE = Recipe(normalisation="data")

VIEWS = [2, 4, 6, 7, 8, 10]


def space(trial: Trial) -> Recipe:
    return replace(
        BASELINE,
        augmentations=trial.suggest_categorical("augmentations", VIEWS),
        image_size=trial.suggest_categorical("image_size", ["400x255", "450x305", "500x355"]),
        seed=trial.suggest_categorical("seed", [32, 33, 34]),
    )
