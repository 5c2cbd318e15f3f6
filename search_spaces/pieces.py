"""What does each piece bring by itself: dense heads, how they are optimised, what they read, a second look?

    python -m milair.search --study pieces --data DIR --trials 70

One change at a time, five seeds each, and nothing drawn: all trainings are references. docs/beyond.md has what they
came to.
"""

from dataclasses import replace

from milair import DenseHead, Recipe, Trial

from .dense import BASELINE as BASELINE

SPLIT = "stratified"  # as docs/beyond.md has it
PIECES = [
    BASELINE,
    replace(BASELINE, looks=2),
    replace(BASELINE, cls_head=DenseHead()),
    replace(BASELINE, stages=2),
    replace(BASELINE, epochs=50),
    replace(BASELINE, augmentations=12),
    replace(BASELINE, ema=0.98),
    replace(BASELINE, label_smoothing=0.1),
    replace(BASELINE, box_loss="giou", l1=1.0),
    replace(BASELINE, looks=2, crop_size=256),
    replace(BASELINE, looks=2, iterations=1),
    replace(BASELINE, schedule="onecycle", warmup=0.3),
    replace(BASELINE, grid="12x8"),
    replace(BASELINE, cls_head=DenseHead(blocks=0, dropout=0.3)),
]
REFERENCES = [replace(piece, seed=seed) for piece in PIECES for seed in range(32, 37)]


def space(trial: Trial) -> Recipe:
    return replace(BASELINE, seed=trial.suggest_int("seed", 32, 36))
