"""What a dry run says: a space's dimensions, one recipe drawn from it, and what training that would cost."""

import optuna
import torch

from milair.console.summary import dimensions
from milair.features.bank import Bank, Part
from milair.model import backbones, heads
from milair.study import duration
from milair.study.session import Session
from milair.training.in_process import Trainer
from milair.training.train import train
from milair.training.values import Training


def costs(session: Session, trainer: Trainer, seed: int) -> str:
    """A few lines; a few steps are timed, and nothing is kept. MilairError if the baseline cannot be trained."""
    space = session.space
    trainer.weights(session.recipe(space.baseline))
    trial = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed)).ask()
    recipe, classes = session.recipe(space(trial)), len(session.frames.classes)
    size, training = heads.size(recipe, classes), heads.training_bytes(recipe, classes)
    data = session.training(recipe)
    seconds = _epoch_seconds(data, trainer) * len(session.splits())
    return "\n".join(
        [
            *("", space.question, "", "dimensions", *dimensions(space.dimensions()), "", "one recipe of it"),
            *(f"  {name:<18} {value}" for name, value in recipe.to_json().items()),
            "",
            "its cost",
            f"  {'parameters':<18} {size.total:,} of which {size.trainable:,} are trained ({size.megabytes:.1f} MB)",
            f"  {'memory':<18} {trainer.bank_bytes(data) / 1e6:.0f} MB of features, "
            f"{training / 1e6:.0f} MB to train the heads",
            f"  {'time':<18} {seconds:.2f} s an epoch on {trainer.device}: "
            f"{duration(seconds * recipe.all_epochs)} for {recipe.all_epochs}, less where patience or pruning ends it",
        ]
    )


def _epoch_seconds(training: Training, trainer: Trainer) -> float:
    """The second of two short epochs on made-up features, scaled to the length of a real one."""
    recipe = training.recipe
    shape, _ = backbones.measure(recipe.feature_map, recipe.size)
    frames, classes, device = len(training.split.train), trainer.inputs.classes, trainer.device
    few = min(frames, 4 * recipe.batch_size)
    rows = torch.randn(2 * few, *shape, device=device)
    index = torch.arange(2 * few, device=device).view(2, few)
    boxes, seen = torch.rand(2, few, 4, device=device), torch.ones(2, few, dtype=torch.bool, device=device)
    part = Part(rows, index, boxes, seen, torch.arange(few, device=device) % len(classes))
    short = recipe.override({"augmentations": "1", "epochs": "2"})
    *_, last = train(short, Bank(part, part, classes, (), ()), device)
    return last.seconds / few * frames * recipe.augmentations
