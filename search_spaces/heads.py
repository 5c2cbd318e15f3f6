"""Which heads, linear or convolutional, how deep and how wide, find and name the aircraft best?

    python -m milair.search --study heads --data DIR

The document's chapters on heads, some twenty trainings by hand and one head at a time, as one space: both heads vary
together. The first trial is the document's best, which fed the backbone pictures scaled by their own statistics.

To expect, on the competition's 189 frames with ImageNet weights: scores from 0.69 (two linear heads) to 0.82 (a linear
class head, four blocks for the box), 62 to 72 epochs a trial, 2 to 8 minutes each on two CPU cores; a trial that loses
is pruned within one. Learned nothing: 0.24. The baseline over three seeds: 0.796, standard deviation 0.003.
(Measured when boxes did not yet begin about the centre; two linear heads reach 0.75 since.)
"""

from dataclasses import replace

from milair.recipe import ConvHead, Head, LinearHead, Recipe
from milair.space import Trial

BASELINE = Recipe(normalisation="data")

WIDTHS = [
    "64",
    "128",
    "256",
    "768",
    "256-128",
    "768-256",
    "768-256-128",
    "768-768-256-128",
    "768-768-256-256-128",
    "768-768-256-256-128-64",
    "768-768-256-256-128-128",
]
FILTERS = [64, 128, 256]


def space(trial: Trial) -> Recipe:
    return replace(BASELINE, cls_head=head(trial, "cls_head"), reg_head=head(trial, "reg_head"))


def head(trial: Trial, name: str, filters: list[int] = FILTERS) -> Head:
    if trial.suggest_categorical(f"{name}.type", ["linear", "conv"]) == "linear":
        return LinearHead(trial.suggest_categorical(f"{name}.widths", WIDTHS))
    blocks = trial.suggest_int(f"{name}.blocks", 0, 5)
    return ConvHead(blocks, trial.suggest_categorical(f"{name}.filters", filters)) if blocks else ConvHead(0)
