"""How should dense heads be built, and what should they read: a finer map, or an earlier stage beside the last one?

    python -m milair.search --study dense --data DIR --trials 40

Each pair of `grid` and `stages` has a bank of its own; docs/backbones.md says what these cost.

To expect, on the competition's 189 frames with ImageNet weights: the baseline 0.795 to 0.826 over five seeds, 28 s each
on one core of an AMD EPYC. docs/beyond.md has more. Chance baseline: 0.24.
"""

from dataclasses import replace

from milair import DenseHead, Recipe, Trial

BASELINE = Recipe(
    cls_head=DenseHead(dropout=0.3),
    reg_head=DenseHead(),
    optimizer="adamw",
    schedule="cosine",
    warmup=0.05,
    learning_rate=1e-3,
    weight_decay=1e-4,
    epochs=25,
)


def space(trial: Trial) -> Recipe:
    return replace(
        BASELINE,
        grid=trial.suggest_categorical("grid", ["7x7", "12x8"]),
        stages=trial.suggest_int("stages", 1, 2),
        cls_head=head(trial, "cls_head"),
        reg_head=head(trial, "reg_head"),
    )


def head(trial: Trial, name: str) -> DenseHead:
    return DenseHead(
        channels=trial.suggest_categorical(f"{name}.channels", [64, 128, 256]),
        blocks=trial.suggest_int(f"{name}.blocks", 0, 3),
        dropout=trial.suggest_categorical(f"{name}.dropout", [0.0, 0.1, 0.3]),
    )
