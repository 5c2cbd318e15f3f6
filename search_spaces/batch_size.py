"""How many views should one step of the optimizer see?

    python -m milair.search --study batch_size --data DIR --sampler grid --pruner none --trials 12

To expect, on the competition's 189 frames with ImageNet weights: 0.728 to 0.737 with 32 (three seeds), 0.746 with 16,
0.745 with 64, 0.736 with 128 (one seed each). One to two minutes a training on one core of an AMD EPYC, three with 16.
"""

from dataclasses import replace

from milair import Recipe, Trial

from .alpha import BASELINE as BASELINE

SPLIT = "stratified"  # the document's
SIZES = [16, 32, 64, 128]


def space(trial: Trial) -> Recipe:
    return replace(
        BASELINE,
        batch_size=trial.suggest_categorical("batch_size", SIZES),
        seed=trial.suggest_categorical("seed", [32, 33, 34]),
    )
