"""Which frozen backbone sees most, on equal terms, and what does it lose when its map is averaged to one cell?

python -m milair.search --study backbones --data DIR --weights DIR --sampler grid --pruner none --trials 54
"""

from dataclasses import replace

from milair.recipe import Recipe
from milair.space import Trial

BASELINE = Recipe()

BACKBONES = [
    "squeezenet1_0",
    "squeezenet1_1",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "vgg16",
    "vgg19",
    "efficientnet_v2_s",
    "efficientnet_v2_m",
    "swin_b",
]


def space(trial: Trial) -> Recipe:
    return replace(
        BASELINE,
        backbone=trial.suggest_categorical("backbone", BACKBONES),
        pooling=trial.suggest_categorical("pooling", ["grid", "global"]),
        seed=trial.suggest_categorical("seed", [32, 33, 34]),
    )
