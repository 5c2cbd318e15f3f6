"""Which frozen backbone sees most, on equal terms, and what does it lose when its map is averaged to one cell?

    python -m milair.search --study backbones --data DIR --sampler grid --pruner none --trials 54

The document compared them by their own pooling: VGG, SqueezeNet and MobileNetV2 kept a 7x7 map ("grid"),
EfficientNetV2, MobileNetV3 and Swin were averaged to one cell ("global"). Here each has both, on pictures scaled by
ImageNet's statistics, with three seeds. With the weights of some of them only, here of three, 18 trials:
`--only backbone=squeezenet1_0,squeezenet1_1,mobilenet_v2`.

To expect, on the competition's 189 frames, for these three: 0.74 to 0.83 on the grid (SqueezeNet 1.0 0.797, 1.1 0.773,
MobileNetV2 0.747 over three seeds, standard deviations 0.031, 0.024, 0.010), 0.61 to 0.71 averaged. 27 to 64 epochs
within 8 to 24 minutes on the grid, 22 to 44 epochs within 70 s averaged, on one CPU core beside other work.
Chance baseline: 0.24.
"""

from dataclasses import replace

from milair import Recipe, Trial

SPLIT = "stratified"  # the document's
BASELINE = Recipe()

BACKBONES = [
    "vgg16",
    "vgg19",
    "efficientnet_v2_s",
    "efficientnet_v2_m",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "squeezenet1_0",
    "squeezenet1_1",
    "swin_b",
]


def space(trial: Trial) -> Recipe:
    return replace(
        BASELINE,
        backbone=trial.suggest_categorical("backbone", BACKBONES),
        pooling=trial.suggest_categorical("pooling", ["grid", "global"]),
        seed=trial.suggest_categorical("seed", [32, 33, 34]),
    )
