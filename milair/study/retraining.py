"""Trials trained again, by the same code and seed, their models kept, and put together as an ensemble."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
from optuna.trial import FrozenTrial

from milair.errors import MilairError
from milair.frames.frame import Split
from milair.model import backbones, checkpoint
from milair.model.backbones import Backbone
from milair.model.detector import Detector, Ensemble
from milair.recipe import Recipe
from milair.study.arms import FOLDS
from milair.study.describing import Description, Validation
from milair.study.kept import scalars, trained
from milair.study.session import Session
from milair.study.trainings import Listen, Outcome, Source, detector, here, outcomes
from milair.training import devices
from milair.training.finetuning import EPOCHS, finetune
from milair.training.folds import Folds
from milair.training.in_process import Trainer
from milair.training.outputs import Outputs
from milair.training.values import Metrics, Training


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
    note: str = ""  # what beside the model could not be written

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
    note: str = ""  # what beside the model could not be written

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
    source: Source | None = None  # who trains; None: the trainer
    unfreeze: int = 0  # blocks of the backbone to train as well, at the end
    backbones: dict[object, Backbone] = field(default_factory=dict)  # models of the same one share it

    def __call__(
        self, trials: Sequence[FrozenTrial], folder: Path, seeds: int = 1, flip: bool = False
    ) -> Iterator[Retrained | Combined]:
        """Train each trial's recipe with so many seeds, and save each model: in `folder`, `folder`-seed33 ….

        By folds one model each, in `folder`-fold1 …, that are `folder` together. Several are put together in
        `folder`-ensemble as well. With `flip` that sees pictures mirrored too, if validation prefers it. MilairError if
        the weights are not those of a trial."""
        again = [
            (trial, replace(recipe, seed=seed), name if seed == recipe.seed else f"{name}-seed{seed}")
            for trial, recipe in [(trial, self._recipe(trial)) for trial in trials]
            for name in [folder.name if trial is trials[0] else f"{folder.name}-trial{trial.number}"]
            for seed in range(recipe.seed, recipe.seed + seeds)
        ]
        trainings = [
            Training(recipe, split, "best" if self._alone else "last", scalars(trial)["threads"])
            for trial, recipe, _ in again
            for split in self._splits(recipe.seed)
        ]
        results = zip(trainings, outcomes(self.source or here(self.trainer), trainings, self.listen), strict=True)
        models: list[_Member] = []
        for trial, recipe, name in again:
            place, each = folder.with_name(name), list[Retrained]()
            folds = len(self._splits(recipe.seed))
            with devices.with_threads(scalars(trial)["threads"]):
                for number in range(1, folds + 1):
                    own = place if folds == 1 else place.with_name(f"{name}-fold{number}")
                    member, retrained = self._keep(*next(results), trial, own)
                    if self.unfreeze:
                        member, retrained = self._finetune(member, retrained, trial)
                    models.append(member)
                    each.append(retrained)
                    yield retrained
                if folds > 1:
                    yield self._folds(models[-folds:], each, trial, place)
        if flip or len(trials) * seeds > 1:
            yield self._together(models, flip, folder.with_name(f"{folder.name}-ensemble"))

    @property
    def _alone(self) -> bool:
        """Whether a training chooses its epoch by frames that are validated by it alone."""
        return not (self.everything or self.session.by_folds)

    def _recipe(self, trial: FrozenTrial) -> Recipe:
        """What is trained again. MilairError if it cannot be, before anything is."""
        stored, recipe = scalars(trial), Recipe.from_json(trained(trial))
        if not self._alone and not recipe.scheduled:  # no fold chooses an epoch for itself
            recipe = replace(recipe, epochs=stored["epoch"], patience=stored["epoch"])
        if self.trainer.weights(recipe) != stored["weights"]:
            raise MilairError(f"the weights of {recipe.backbone} are not those of the trial; see --weights")
        if self.unfreeze:
            backbones.on_meta(recipe.feature_map).unfreeze(self.unfreeze)
        return recipe

    def _splits(self, seed: int) -> tuple[Split, ...]:
        """What a recipe of that seed is trained on: with `everything` one split, whose score says nothing."""
        splits = self.session.splits(seed)
        return (Split(splits[0].train + splits[0].val, splits[0].val),) if self.everything else splits

    def _keep(
        self, training: Training, outcome: Outcome, trial: FrozenTrial, folder: Path
    ) -> "tuple[_Member, Retrained]":
        """Save the model of a training: of its best epoch, or of its last one."""
        recipe, epochs = training.recipe, outcome.epochs
        kept = epochs[epochs[-1].best_number - 1] if self._alone else epochs[-1]
        then = next((e for e in epochs if e.number == trial.user_attrs["epochs"]), None)  # a pruned trial had fewer
        own = self._alone and recipe == Recipe.from_json(trained(trial))
        difference = _difference(then.best, trial) if own and then is not None else None
        model = detector(recipe, outcome.trained, self.trainer, self.backbones)
        metrics = None if self.everything else kept.best if recipe.scheduled or self._alone else kept.val
        expected = trial.value if self.everything and self.session.by_folds else None
        about = {"trial": trial.number, "epoch": kept.number} | ({} if expected is None else {"out_of_fold": expected})
        outputs = Outputs(*map(torch.tensor, (outcome.trained.logits, outcome.trained.boxes)))
        validation = None if self.everything else Validation(training.split.val, outputs)
        splits = self.session.splits(recipe.seed) if self.everything else [training.split]
        folds = len(self._splits(recipe.seed))
        described = Description(self.session, splits, folds, trial.number, kept.number, expected)
        note = self._save(folder, model, described, about, metrics, validation)
        retrained = Retrained(recipe, kept.number, metrics, difference, folder, expected=expected, note=note)
        return _Member(model, training.split, validation), retrained

    def _finetune(self, member: "_Member", retrained: Retrained, trial: FrozenTrial) -> "tuple[_Member, Retrained]":
        """Go on with the backbone's last blocks, and save the best epoch, if validation prefers it to the model."""
        recipe, tuned, split = member.model.recipe, deepcopy(member.model), member.split  # the backbone may be shared
        training = finetune(tuned, self.unfreeze, self.trainer.bank(Training(recipe, split)), split)
        before, best = next(training), None
        for number, metrics in enumerate(training, 1):
            self.listen(f"seed {recipe.seed}, backbone", number, EPOCHS, metrics.score, "")
            if best is None or metrics.score > best.score:
                best, state = metrics, deepcopy(tuned.state_dict())
        if best is None or not best.score > before.score:
            return member, replace(retrained, tuned=best)
        tuned.load_state_dict(state)
        about = {"trial": trial.number, "epoch": retrained.epoch, "unfrozen": self.unfreeze}
        validation = Validation.seen(tuned, split)
        described = Description(self.session, [split], 1, trial.number, retrained.epoch, unfrozen=self.unfreeze)
        note = self._save(retrained.folder, tuned, described, about, best, validation)
        return _Member(tuned, split, validation), replace(retrained, tuned=best, unfrozen=self.unfreeze, note=note)

    def _folds(
        self, members: "Sequence[_Member]", each: Sequence[Retrained], trial: FrozenTrial, folder: Path
    ) -> Combined:
        """The models of all folds as one, with the metrics of each on the frames that it was not trained on."""
        splits, recipe = [member.split for member in members], members[0].model.recipe
        scores = Folds(recipe, splits).mean([one.metrics for one in each if one.metrics])
        again = recipe.seed == trained(trial)["seed"]
        whole = again and trial.user_attrs.get(FOLDS) == len(splits)  # a trial that was pruned had fewer
        about = {"trial": trial.number, "folds": len(splits)}
        described = Description(self.session, splits, len(splits), trial.number, each[0].epoch)
        ensemble, validation = Ensemble([member.model for member in members]), _joined(members)
        note = self._save(folder, ensemble, described, about, scores, validation)
        difference = _difference(scores, trial) if whole else None
        return Combined(len(members), False, scores, None, folder, len(splits), difference, note)

    def _together(self, members: "Sequence[_Member]", flip: bool, folder: Path) -> Combined:
        """An ensemble, saved; mirrored pictures only where they help."""
        models, recipe = [member.model for member in members], members[0].model.recipe
        splits, metrics, validations = self._splits(recipe.seed), dict[bool, Metrics](), dict[bool, Validation]()
        if not self.everything:
            # Of a fold's frames all others have been trained on, so each model is validated alone.
            groups = [[member] for member in members] if len(splits) > 1 else [members]
            for mirrored in (False, True) if flip else (False,):
                seen = [Validation.seen(Ensemble([m.model for m in some], mirrored), some[0].split) for some in groups]
                each = [
                    one.metrics(models[0].classes, some[0].model.recipe.alpha)
                    for some, one in zip(groups, seen, strict=True)
                ]
                metrics[mirrored] = Folds(recipe, [some[0].split for some in groups]).mean(each)
                validations[mirrored] = Validation.joined(seen)
        best = max(metrics, key=lambda mirrored: metrics[mirrored].score) if metrics else flip
        described = Description(self.session, self.session.splits(recipe.seed), len(splits))
        note = self._save(folder, Ensemble(models, best), described, {}, metrics.get(best), validations.get(best))
        return Combined(len(models), best, metrics.get(best), metrics.get(not best), folder, len(splits), note=note)

    def _save(
        self,
        folder: Path,
        model: Detector | Ensemble,
        described: Description,
        about: Mapping[str, Any],
        metrics: Metrics | None,
        validation: Validation | None,
    ) -> str:
        """Calibrate a model on its validation, save it, then its card; what could not be written beside the model."""
        calibration = None if validation is None else validation.calibration(model.classes)
        if calibration is not None:
            model.temperature = calibration.temperature
        fitted = {"calibration": calibration and calibration.to_json()}
        checkpoint.save(folder, model, self._about(metrics) | fitted | dict(about))
        of_it = replace(described, metrics=metrics, validation=validation, calibration=calibration)
        return of_it.write(folder, model)

    def _about(self, metrics: Metrics | None) -> dict[str, Any]:
        """What a checkpoint says of where it comes from."""
        session = self.session
        return {
            "study": session.study.study_name,
            "trained_on": "all" if self.everything else "train",
            "validation": metrics and metrics.to_json() | {"score": metrics.score},
            "frames": {"fingerprint": session.settings.fingerprint, "count": len(session.frames.labelled)},
        }


@dataclass(frozen=True, slots=True)
class _Member:
    """A trained model, what it was trained on, and its outputs for the other half."""

    model: Detector
    split: Split
    validation: Validation | None


def _joined(members: Sequence[_Member]) -> Validation | None:
    parts = [member.validation for member in members if member.validation is not None]
    return Validation.joined(parts) if parts else None


def _difference(metrics: Metrics, trial: FrozenTrial) -> float:
    """The largest from the metrics that a trial has kept."""
    return float(max(abs(value - trial.user_attrs[name]) for name, value in metrics.to_json().items()))


def _in_full(metrics: Metrics) -> str:
    return f"score {metrics.score:.4f}, IoU {metrics.iou:.4f}, accuracy {metrics.accuracy:.4f}, loss {metrics.loss:.4f}"


def spread(models: Sequence[Retrained | Combined]) -> str:
    """Mean and standard deviation of the scores over seeds, in a line."""
    scores = [model.saved.score for model in models if model.saved is not None]
    return f"score over {len(scores)} seeds: mean {mean(scores):.4f}, standard deviation {stdev(scores):.4f}"
