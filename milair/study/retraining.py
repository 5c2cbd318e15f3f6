"""Trials trained again, by the same code and seed, their models kept, and put together as an ensemble."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from optuna.trial import FrozenTrial
from torch import nn

from milair.errors import MilairError
from milair.model import backbones, checkpoint
from milair.model.backbones import Backbone
from milair.model.detector import Detector, Ensemble
from milair.recipe import Recipe
from milair.study.session import Session
from milair.training import devices
from milair.training.finetuning import EPOCHS, finetune
from milair.training.in_process import Trainer
from milair.training.outputs import predicted
from milair.training.train import new_heads, train
from milair.training.values import Metrics

Listen = Callable[[str, int, int, float], object]  # what is trained, epochs done and in all, score


@dataclass(frozen=True, slots=True)
class Retrained:
    """One training of a trial's recipe, and where its model lies."""

    recipe: Recipe
    epoch: int
    metrics: Metrics | None  # None where validation frames were trained on too
    difference: float | None  # the largest from the trial's own metrics; None for other seeds
    folder: Path
    tuned: Metrics | None = None  # with blocks of the backbone trained too, where that was asked for
    unfrozen: int = 0  # blocks of the backbone that are trained in the saved model; 0: `tuned` is no better

    @property
    def saved(self) -> Metrics | None:
        """Those of the model that lies in the folder."""
        return self.tuned if self.unfrozen else self.metrics

    def __str__(self) -> str:
        if self.metrics is None:
            return f"seed {self.recipe.seed}: trained on all frames"
        text = f"seed {self.recipe.seed}: {_in_full(self.metrics)} at epoch {self.epoch}"
        if self.tuned is None:
            return text
        verdict = "saved" if self.unfrozen else "no better, so the frozen one is saved"
        return f"{text}\nseed {self.recipe.seed} with its backbone unfrozen: {_in_full(self.tuned)}; {verdict}"


@dataclass(frozen=True, slots=True)
class Combined:
    """Several trained models as one, and where it lies."""

    members: int
    flip: bool  # pictures are seen mirrored as well
    metrics: Metrics | None  # None where validation frames were trained on too
    other: Metrics | None  # with the other choice of `flip`, if that was asked for
    folder: Path

    def __str__(self) -> str:
        what = f"ensemble of {self.members}{' with mirrored pictures' if self.flip else ''}"
        if self.metrics is None:
            return f"{what}: trained on all frames"
        scores = f"score {self.metrics.score:.4f}, IoU {self.metrics.iou:.4f}, accuracy {self.metrics.accuracy:.4f}"
        others = (
            f" ({'without' if self.flip else 'with'} mirrored pictures {self.other.score:.4f})" if self.other else ""
        )
        return f"{what}: {scores}{others}"


@dataclass
class Retraining:
    """What trainings of one call share."""

    session: Session
    trainer: Trainer
    everything: bool = False  # validation frames were given to the trainer as well
    listen: Listen = lambda *_: None
    unfreeze: int = 0  # blocks of the backbone to train as well, at the end
    backbones: dict[object, Backbone] = field(default_factory=dict)  # models of the same one share it

    def __call__(
        self, trials: Sequence[FrozenTrial], folder: Path, seeds: int = 1, flip: bool = False
    ) -> Iterator[Retrained | Combined]:
        """Train each trial's recipe with so many seeds, and save each model: in `folder`, `folder`-seed33 ….

        Several are put together in `folder`-ensemble as well. With `flip` that sees pictures mirrored too, if
        validation prefers it. MilairError if the weights are not those of a trial."""
        models = []
        for trial in trials:
            stored = trial.user_attrs
            recipe = Recipe.from_json(stored["recipe"])
            if self.everything and not recipe.scheduled:  # nothing is held back to tell when to stop
                recipe = replace(recipe, epochs=stored["epoch"], patience=stored["epoch"])
            if self.trainer.weights(recipe) != stored["weights"]:
                raise MilairError(f"the weights of {recipe.backbone} are not those of the trial; see --weights")
            if self.unfreeze:  # what the backbone does not have is said before anything is trained
                backbones.on_meta(recipe.feature_map).unfreeze(self.unfreeze)
            name = folder.name if trial is trials[0] else f"{folder.name}-trial{trial.number}"
            with devices.with_threads(stored["device"]["threads"]):
                for seed in range(recipe.seed, recipe.seed + seeds):
                    place = folder.with_name(name if seed == recipe.seed else f"{name}-seed{seed}")
                    model, retrained = self._train(replace(recipe, seed=seed), trial, place)
                    if self.unfreeze:
                        model, retrained = self._finetune(model, retrained, trial)
                    models.append(model)
                    yield retrained
        if len(models) > 1 or flip:
            yield self._together(models, flip, folder.with_name(f"{folder.name}-ensemble"))

    def _train(self, recipe: Recipe, trial: FrozenTrial, folder: Path) -> tuple[Detector, Retrained]:
        """Train a recipe and save the heads of its best epoch, or of its last one."""
        bank, stored = self.trainer.bank(recipe), trial.user_attrs
        looks = new_heads(recipe, bank, self.trainer.device)
        heads, state, difference = nn.ModuleList(looks), None, None
        for epoch in train(recipe, bank, self.trainer.device, looks):
            self.listen(f"seed {recipe.seed}", epoch.number, recipe.all_epochs, epoch.score)
            if epoch.improved or self.everything:
                kept, state = epoch, deepcopy(heads.state_dict())
            if epoch.number == stored["epochs"]:  # a trial that was pruned had fewer
                difference = max(abs(value - stored[name]) for name, value in epoch.best.to_json().items())
        assert state is not None  # the first epoch always improves
        heads.load_state_dict(state)
        first, *second = looks
        assert bank.extract is not None
        preprocessing, backbone = bank.extract.preprocessing, bank.extract.backbone
        backbone = self.backbones.setdefault((recipe.feature_map, recipe.weights), backbone)
        model = Detector(preprocessing, backbone, first, recipe, bank.classes, *second)
        metrics = None if self.everything else kept.best
        own = not self.everything and recipe == Recipe.from_json(stored["recipe"])
        checkpoint.save(folder, model, self._about(metrics) | {"trial": trial.number, "epoch": kept.number})
        return model, Retrained(recipe, kept.number, metrics, difference if own else None, folder)

    def _finetune(self, model: Detector, retrained: Retrained, trial: FrozenTrial) -> tuple[Detector, Retrained]:
        """Go on with the backbone's last blocks, and save the best epoch, if validation prefers it to the model."""
        recipe, tuned = model.recipe, deepcopy(model)  # its backbone may be that of other models
        training = finetune(tuned, self.unfreeze, self.trainer.bank(recipe), self.trainer.inputs.split)
        before, best = next(training), None
        for number, metrics in enumerate(training, 1):
            self.listen(f"seed {recipe.seed}, backbone", number, EPOCHS, metrics.score)
            if best is None or metrics.score > best.score:
                best, state = metrics, deepcopy(tuned.state_dict())
        if best is None or not best.score > before.score:
            return model, replace(retrained, tuned=best)
        tuned.load_state_dict(state)
        about = {"trial": trial.number, "epoch": retrained.epoch, "unfrozen": self.unfreeze}
        checkpoint.save(retrained.folder, tuned, self._about(best) | about)
        return tuned, replace(retrained, tuned=best, unfrozen=self.unfreeze)

    def _together(self, models: Sequence[Detector], flip: bool, folder: Path) -> Combined:
        """An ensemble, saved; mirrored pictures only where they help."""
        metrics: dict[bool, Metrics] = {}
        if not self.everything:
            recipe, pictures = models[0].recipe, [frame.picture for frame in self.trainer.inputs.split.val]
            part = self.trainer.bank(recipe).val
            for mirrored in (False, True) if flip else (False,):
                outputs = predicted(Ensemble(models, mirrored), pictures)
                metrics[mirrored] = outputs.metrics(part, recipe.alpha)
        best = max(metrics, key=lambda mirrored: metrics[mirrored].score) if metrics else flip
        checkpoint.save(folder, Ensemble(models, best), self._about(metrics.get(best)))
        return Combined(len(models), best, metrics.get(best), metrics.get(not best), folder)

    def _about(self, metrics: Metrics | None) -> dict[str, Any]:
        """What a checkpoint says of where it comes from."""
        session = self.session
        return {
            "study": session.study.study_name,
            "trained_on": "all" if self.everything else "train",
            "validation": metrics and metrics.to_json() | {"score": metrics.score},
            "frames": {"fingerprint": session.settings.fingerprint, "count": len(session.frames.labelled)},
        }


def _in_full(metrics: Metrics) -> str:
    return f"score {metrics.score:.4f}, IoU {metrics.iou:.4f}, accuracy {metrics.accuracy:.4f}, loss {metrics.loss:.4f}"


def spread(models: Sequence[Retrained]) -> str:
    """Mean and standard deviation of the scores over seeds, in a line."""
    scores = [model.saved.score for model in models if model.saved is not None]
    return f"score over {len(scores)} seeds: mean {mean(scores):.4f}, standard deviation {stdev(scores):.4f}"
