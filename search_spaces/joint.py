r"""Which recipe, of all that the document varied one dimension at a time, detects and classifies the aircraft best?

    python -m milair.search --study joint --data DIR --trials 47 --epochs 100 \
        --only backbone=squeezenet1_0 --only normalisation=data --only cls_head.filters=128,256

To expect of that, on the competition's 189 frames with ImageNet weights: 36 of the 47 trainings pruned, 105 minutes on
one core of an AMD EPYC, scores from 0.47 to 0.815; the best over three seeds 0.790 to 0.815. Class heads of 768 filters
are left out as, with eight views, their trainings can take an hour.
"""

from dataclasses import replace

from milair import LinearHead, Recipe, Trial

from .augmentation import VIEWS
from .backbones import BACKBONES
from .batch_size import SIZES as BATCH_SIZES
from .heads import head
from .image_size import SIZES as IMAGE_SIZES

SPLIT = "stratified"  # the document's
BASELINE = Recipe(  # where the document's own search began
    normalisation="data", augmentations=2, cls_head=LinearHead("768-256"), reg_head=LinearHead("768-256-128")
)

AVERAGED = ["efficientnet_v2_s", "efficientnet_v2_m", "mobilenet_v3_small", "swin_b"]  # by their own pooling


def space(trial: Trial) -> Recipe:
    backbone = trial.suggest_categorical("backbone", BACKBONES)
    own = backbone in AVERAGED
    return replace(
        BASELINE,
        backbone=backbone,
        pooling=trial.suggest_categorical("pooling", ["grid", "own"]) if own else "grid",
        normalisation=trial.suggest_categorical("normalisation", ["data", "imagenet"]),
        image_size=trial.suggest_categorical("image_size", IMAGE_SIZES),
        augmentations=trial.suggest_categorical("augmentations", VIEWS),
        batch_size=trial.suggest_categorical("batch_size", BATCH_SIZES),
        alpha=trial.suggest_float("alpha", 0.5, 0.9, step=0.1),
        cls_head=head(trial, "cls_head", [128, 256, 768]),
        reg_head=head(trial, "reg_head", [128, 256]),
    )
