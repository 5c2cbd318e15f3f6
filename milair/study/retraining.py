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
from milair.frames.frame import Split
from milair.model import backbones, checkpoint
from milair.model.backbones import Backbone
from milair.model.detector import Detector, Ensemble
from milair.recipe import Recipe
from milair.study.arms import FOLDS
from milair.study.kept import trained
from milair.study.session import Session
from milair.training import devices
from milair.training.finetuning import EPOCHS, finetune
from milair.training.folds import Folds
from milair.training.in_process import Trainer
from milair.training.outputs import predicted
from milair.training.train import new_heads, train
from milair.training.values import Metrics, Training

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
    expected: float | None = None  # the trial's score out of fold, where this model was trained on all frames
    unfrozen: int = 0  # blocks of the backbone that are trained in the saved model; 0: `tuned` is no better

    @property
    def saved(self) -> Metrics | None:
        """Those of the model that lies in the folder."""
        return self.tuned if self.unfrozen else self.metrics

    def __str__(self) -> str:
        if self.metrics is None:
            expected = "" if self.expected is None else f"; out of fold such models score {self.expected:.4f}"
            return f"seed {self.recipe.seed}: trained on all frames{expected}"
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
    folds: int = 1  # where there are several, metrics are of each model on the frames that it was not trained on
    difference: float | None = None  # the largest from the trial's own metrics, of its folds

    @property
    def saved(self) -> Metrics | None:
        return self.metrics

    def __str__(self) -> str:
        what = f"ensemble of {self.members}{' with mirrored pictures' if self.flip else ''}"
        what += ", each on its own fold" if self.folds > 1 and self.metrics else ""
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
    everything: bool = False  # train on validation frames as well
    listen: Listen = lambda *_: None
    unfreeze: int = 0  # blocks of the backbone to train as well, at the end
    backbones: dict[object, Backbone] = field(default_factory=dict)  # models of the same one share it

    def __call__(
        self, trials: Sequence[FrozenTrial], folder: Path, seeds: int = 1, flip: bool = False
    ) -> Iterator[Retrained | Combined]:
        """Train each trial's recipe with so many seeds, and save each model: in `folder`, `folder`-seed33 ….

        By folds one model each, in `folder`-fold1 …, that are `folder` together. Several are put together in
        `folder`-ensemble as well. With `flip` that sees pictures mirrored too, if validation prefers it. MilairError if
        the weights are not those of a trial."""
        models: list[tuple[Detector, Split]] = []
        for trial in trials:
            stored = trial.user_attrs
            recipe = Recipe.from_json(trained(trial))
            if (
                self.everything or self.session.by_folds
            ) and not recipe.scheduled:  # no fold chooses an epoch for itself
                recipe = replace(recipe, epochs=stored["epoch"], patience=stored["epoch"])
            if self.trainer.weights(recipe) != stored["weights"]:
                raise MilairError(f"the weights of {recipe.backbone} are not those of the trial; see --weights")
            if self.unfreeze:  # what the backbone does not have is said before anything is trained
                backbones.on_meta(recipe.feature_map).unfreeze(self.unfreeze)
            name = folder.name if trial is trials[0] else f"{folder.name}-trial{trial.number}"
            with devices.with_threads(stored["device"]["threads"]):
                for seed in range(recipe.seed, recipe.seed + seeds):
                    place = folder.with_name(name if seed == recipe.seed else f"{name}-seed{seed}")
                    again = replace(recipe, seed=seed)
                    splits, each = self._splits(seed), []
                    for number, split in enumerate(splits, 1):
                        own = place if len(splits) == 1 else place.with_name(f"{place.name}-fold{number}")
                        model, retrained = self._train(Training(again, split), trial, own)
                        if self.unfreeze:
                            model, retrained = self._finetune(model, retrained, split, trial)
                        models.append((model, split))
                        each.append(retrained)
                        yield retrained
                    if len(splits) > 1:
                        yield self._folds([model for model, _ in models[-len(splits) :]], each, splits, trial, place)
        if flip or len(trials) * seeds > 1:
            yield self._together(models, flip, folder.with_name(f"{folder.name}-ensemble"))

    def _splits(self, seed: int) -> tuple[Split, ...]:
        """What a recipe of that seed is trained on: with `everything` one split, whose score says nothing."""
        splits = self.session.splits(seed)
        return (Split(splits[0].train + splits[0].val, splits[0].val),) if self.everything else splits

    def _train(self, training: Training, trial: FrozenTrial, folder: Path) -> tuple[Detector, Retrained]:
        """Train a recipe and save the heads of its best epoch, or of its last one."""
        recipe, bank, stored = training.recipe, self.trainer.bank(training), trial.user_attrs
        alone = len(self._splits(recipe.seed)) == 1 and not self.everything
        looks = new_heads(recipe, bank, self.trainer.device)
        heads, state, difference = nn.ModuleList(looks), None, None
        for epoch in train(recipe, bank, self.trainer.device, looks):
            self.listen(f"seed {recipe.seed}", epoch.number, recipe.all_epochs, epoch.score)
            if epoch.improved or not alone:
                kept, state = epoch, deepcopy(heads.state_dict())
            if epoch.number == stored["epochs"]:  # a trial that was pruned had fewer
                difference = _difference(epoch.best, trial)
        assert state is not None  # the first epoch always improves
        heads.load_state_dict(state)
        first, *second = looks
        assert bank.extract is not None
        preprocessing, backbone = bank.extract.preprocessing, bank.extract.backbone
        backbone = self.backbones.setdefault((recipe.feature_map, recipe.weights), backbone)
        model = Detector(preprocessing, backbone, first, recipe, bank.classes, *second)
        metrics = None if self.everything else kept.best if recipe.scheduled or alone else kept.val
        own = alone and recipe == Recipe.from_json(trained(trial))
        expected = trial.value if self.everything and self.session.by_folds else None
        about = {"trial": trial.number, "epoch": kept.number} | ({} if expected is None else {"out_of_fold": expected})
        checkpoint.save(folder, model, self._about(metrics) | about)
        return model, Retrained(recipe, kept.number, metrics, difference if own else None, folder, expected=expected)

    def _finetune(
        self, model: Detector, retrained: Retrained, split: Split, trial: FrozenTrial
    ) -> tuple[Detector, Retrained]:
        """Go on with the backbone's last blocks, and save the best epoch, if validation prefers it to the model."""
        recipe, tuned = model.recipe, deepcopy(model)  # its backbone may be that of other models
        training = finetune(tuned, self.unfreeze, self.trainer.bank(Training(recipe, split)), split)
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

    def _folds(
        self,
        models: Sequence[Detector],
        each: Sequence[Retrained],
        splits: Sequence[Split],
        trial: FrozenTrial,
        folder: Path,
    ) -> Combined:
        """The models of all folds as one, with the metrics of each on the frames that it was not trained on."""
        scores = Folds(models[0].recipe, list(splits)).mean([one.metrics for one in each if one.metrics])
        again = models[0].recipe.seed == trained(trial)["seed"]
        whole = again and trial.user_attrs.get(FOLDS) == len(splits)  # a trial that was pruned had fewer
        about = {"trial": trial.number, "folds": len(splits)}
        checkpoint.save(folder, Ensemble(models), self._about(scores) | about)
        difference = _difference(scores, trial) if whole else None
        return Combined(len(models), False, scores, None, folder, len(splits), difference)

    def _together(self, models: Sequence[tuple[Detector, Split]], flip: bool, folder: Path) -> Combined:
        """An ensemble, saved; mirrored pictures only where they help."""
        members, metrics = [model for model, _ in models], dict[bool, Metrics]()
        folds = len(self._splits(members[0].recipe.seed))
        if not self.everything:
            # Of a fold's frames all others have been trained on, so each model is validated alone.
            groups = [([model], split) for model, split in models] if folds > 1 else [(members, models[0][1])]
            for mirrored in (False, True) if flip else (False,):
                each = [self._metrics(some, mirrored, split) for some, split in groups]
                metrics[mirrored] = Folds(members[0].recipe, [split for _, split in groups]).mean(each)
        best = max(metrics, key=lambda mirrored: metrics[mirrored].score) if metrics else flip
        checkpoint.save(folder, Ensemble(members, best), self._about(metrics.get(best)))
        return Combined(len(members), best, metrics.get(best), metrics.get(not best), folder, folds)

    def _metrics(self, members: Sequence[Detector], mirrored: bool, split: Split) -> Metrics:
        recipe, pictures = members[0].recipe, [frame.picture for frame in split.val]
        part = self.trainer.bank(Training(recipe, split)).val
        return predicted(Ensemble(members, mirrored), pictures).metrics(part, recipe.alpha)

    def _about(self, metrics: Metrics | None) -> dict[str, Any]:
        """What a checkpoint says of where it comes from."""
        session = self.session
        return {
            "study": session.study.study_name,
            "trained_on": "all" if self.everything else "train",
            "validation": metrics and metrics.to_json() | {"score": metrics.score},
            "frames": {"fingerprint": session.settings.fingerprint, "count": len(session.frames.labelled)},
        }


def _difference(metrics: Metrics, trial: FrozenTrial) -> float:
    """The largest from the metrics that a trial has kept."""
    return float(max(abs(value - trial.user_attrs[name]) for name, value in metrics.to_json().items()))


def _in_full(metrics: Metrics) -> str:
    return f"score {metrics.score:.4f}, IoU {metrics.iou:.4f}, accuracy {metrics.accuracy:.4f}, loss {metrics.loss:.4f}"


def spread(models: Sequence[Retrained | Combined]) -> str:
    """Mean and standard deviation of the scores over seeds, in a line."""
    scores = [model.saved.score for model in models if model.saved is not None]
    return f"score over {len(scores)} seeds: mean {mean(scores):.4f}, standard deviation {stdev(scores):.4f}"
