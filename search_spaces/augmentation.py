"""How many freshly drawn views of each picture make an epoch, and does that depend on the picture's size?

    python -m milair.search --study augmentation --data DIR --sampler grid --pruner none --trials 54

To expect, on the competition's 189 frames with ImageNet weights, at 400x255, over three seeds: 0.760 to 0.808 with two
views, 0.734 to 0.830 with four, 0.809 to 0.818 with six, 0.748 to 0.832 with seven, 0.803 to 0.836 with eight, 0.792 to
0.848 with ten; larger pictures 0.776 to 0.802 (one seed each). 3 to 6 minutes a training with two views, 5 to 22 with
more, on one core of an AMD EPYC.
"""

from dataclasses import replace

from milair import Recipe, Trial

SPLIT = "stratified"  # the document's
BASELINE = Recipe(normalisation="data")

VIEWS = [2, 4, 6, 7, 8, 10]


def space(trial: Trial) -> Recipe:
    return replace(
        BASELINE,
        augmentations=trial.suggest_categorical("augmentations", VIEWS),
        image_size=trial.suggest_categorical("image_size", ["400x255", "450x305", "500x355"]),
        seed=trial.suggest_categorical("seed", [32, 33, 34]),
    )
