"""Which heads, linear or convolutional, how deep and how wide, detect and classify the aircraft best?

    python -m milair.search --study heads --data DIR

The document's chapters on heads, some twenty trainings by hand and one head at a time, as one space: both heads vary
together. The first trial is the document's best, which fed the backbone pictures scaled by the training set's mean and
deviation.

To expect, on the competition's 189 frames with ImageNet weights: the baseline 0.809 to 0.818 over three seeds, 11 to
16 minutes on one core of an AMD EPYC; with two linear heads, and two views instead of six, 0.73 to 0.76. Chance
baseline: 0.24.
"""

from dataclasses import replace

from milair import ConvHead, LinearHead, Recipe, Trial

SPLIT = "stratified"  # the document's
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


def head(trial: Trial, name: str, filters: list[int] = FILTERS) -> LinearHead | ConvHead:
    if trial.suggest_categorical(f"{name}.type", ["linear", "conv"]) == "linear":
        return LinearHead(trial.suggest_categorical(f"{name}.widths", WIDTHS))
    blocks = trial.suggest_int(f"{name}.blocks", 0, 5)
    return ConvHead(blocks, trial.suggest_categorical(f"{name}.filters", filters)) if blocks else ConvHead(0)
