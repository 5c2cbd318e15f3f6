"""A trial trained again, by the same code and seed, and its models kept."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from optuna.trial import FrozenTrial
from torch import nn

from milair.errors import MilairError, UsageError
from milair.model import backbones, detector
from milair.model.detector import Detector
from milair.model.preprocessing import Preprocessing
from milair.recipe import Recipe
from milair.study.session import Session
from milair.training import devices
from milair.training.in_process import Trainer
from milair.training.train import new_heads, train
from milair.training.values import Epoch, Metrics


@dataclass(frozen=True, slots=True)
class Retrained:
    """One training of a trial's recipe, and where its model lies."""

    recipe: Recipe
    epoch: int
    metrics: Metrics | None  # None where validation frames were trained on too
    difference: float | None  # the largest from the trial's own metrics; None for other seeds
    folder: Path

    def __str__(self) -> str:
        if self.metrics is None:
            return f"seed {self.recipe.seed}: trained on all frames"
        return (
            f"seed {self.recipe.seed}: score {self.metrics.score:.4f}, IoU {self.metrics.iou:.4f}, "
            f"accuracy {self.metrics.accuracy:.4f}, loss {self.metrics.loss:.4f} at epoch {self.epoch}"
        )


def retrain(
    session: Session,
    trainer: Trainer,
    trial: FrozenTrial,
    folder: Path,
    *,
    seeds: int = 1,
    everything: bool = False,
    listen: Callable[[Recipe, Epoch], None] = lambda *_: None,
) -> Iterator[Retrained]:
    """Train a trial's recipe with so many seeds, and save each model: in `folder`, `folder`-seed33 ….

    `everything`: validation frames were given to the trainer as well; for as many epochs as were best, or for a whole
    schedule. MilairError if the weights are not those of the trial."""
    if everything and seeds > 1:
        raise UsageError("--seeds compares validation scores, and --on all leaves none to compare")
    stored = trial.user_attrs
    recipe = Recipe.from_json(stored["recipe"])
    if everything and not recipe.scheduled:  # nothing is held back to tell when to stop: stop where the trial was best
        recipe = replace(recipe, epochs=stored["epoch"], patience=stored["epoch"])
    if trainer.weights(recipe) != stored["weights"]:
        raise MilairError(f"the weights of {recipe.backbone} are not those of the trial; see --weights")
    with devices.with_threads(stored["device"]["threads"]):
        for seed in range(recipe.seed, recipe.seed + seeds):
            place = folder if seed == recipe.seed else folder.with_name(f"{folder.name}-seed{seed}")
            yield _train(session, trainer, replace(recipe, seed=seed), trial, everything, place, listen)


def spread(models: list[Retrained]) -> str:
    """Mean and standard deviation of the scores over seeds, in a line."""
    scores = [model.metrics.score for model in models if model.metrics is not None]
    return f"score over {len(scores)} seeds: mean {mean(scores):.4f}, standard deviation {stdev(scores):.4f}"


def _train(
    session: Session,
    trainer: Trainer,
    recipe: Recipe,
    trial: FrozenTrial,
    everything: bool,
    folder: Path,
    listen: Callable[[Recipe, Epoch], None],
) -> Retrained:
    """Train a recipe and save the heads of its best epoch, or of its last one."""
    bank, stored = trainer.bank(recipe), trial.user_attrs
    heads = nn.ModuleList(looks := new_heads(recipe, bank, trainer.device))
    state, difference = None, None
    for epoch in train(recipe, bank, trainer.device, looks):
        listen(recipe, epoch)
        if epoch.improved or everything:
            kept, state = epoch, deepcopy(heads.state_dict())
        if epoch.number == stored["epochs"]:  # a trial that was pruned had fewer
            difference = max(abs(value - stored[name]) for name, value in epoch.best.to_json().items())
    assert state is not None  # the first epoch always improves
    heads.load_state_dict(state)
    pretrained = recipe.weights == "pretrained"
    weights = backbones.load_state(recipe.backbone, trainer.inputs.source) if pretrained else None
    backbone = backbones.build(recipe.feature_map, weights)
    preprocessing = Preprocessing(recipe.size, bank.mean, bank.std)
    about: dict[str, Any] = {
        "study": session.study.study_name,
        "trial": trial.number,
        "trained_on": "all" if everything else "train",
        "epoch": kept.number,
        "validation": None if everything else kept.best.to_json() | {"score": kept.best.score},
        "frames": {"fingerprint": session.settings.fingerprint, "count": len(session.frames.labelled)},
    }
    first, *second = looks
    detector.save(folder, Detector(preprocessing, backbone, first, recipe, bank.classes, *second), about)
    if everything:
        return Retrained(recipe, kept.number, None, None, folder)
    own = recipe == Recipe.from_json(stored["recipe"])
    return Retrained(recipe, kept.number, kept.best, difference if own else None, folder)
