"""Does the size of pictures, width x height in pixels, matter, when the backbone's map is pooled to 7x7 anyway?

    python -m milair.search --study image_size --data DIR --sampler grid --pruner none --trials 30

To expect, on the competition's 189 frames with ImageNet weights, one seed each: from 0.726 (454x255) to 0.763
(350x205), in no order of size: 400x400 scored 0.754, 1152x648 0.738, and three seeds of 400x255 0.728 to 0.737. One to
two minutes a training on one core of an AMD EPYC, whatever the size; but the features, once: 1.5 minutes for 400x255,
half an hour for 1152x648.
"""

from dataclasses import replace

from milair import Recipe, Trial

from .alpha import BASELINE as BASELINE

SPLIT = "stratified"  # the document's
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
