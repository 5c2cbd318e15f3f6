"""One trial as an objective: builds, trains, reports, prunes. A plain callable for any engine that runs Optuna.

study.optimize(objective("heads", data="my/frames"), n_trials=20)
"""

from __future__ import annotations

import gc
import math
import resource
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

import optuna
import torch
from optuna.trial import BaseTrial

from milair import space
from milair.errors import MilairError, first_line
from milair.features.bank import Bank
from milair.model import heads
from milair.recipe import Recipe
from milair.space import Space
from milair.study import session as setup
from milair.study.queue import worker
from milair.study.session import Setup
from milair.training.devices import memory
from milair.training.train import Answers, Epoch, train

# Reports come every so many passes over the data, at that round number: a report costs as much as a quick epoch, and
# recipes with other numbers of views meet at the same steps.
RUNG = 10
PINNED = "pinned"  # attribute of trials that are never pruned: the baseline, a published run


@dataclass(frozen=True)
class Objective:
    """objective(trial) -> score, from 0 to 1: (mean IoU + accuracy) / 2 at the epoch of the lowest validation loss."""

    space: Space
    setup: Setup
    listen: Callable[[str, Recipe, Epoch], None] = lambda *_: None  # what, its recipe, the epoch that ended

    def __call__(self, trial: BaseTrial) -> float:
        if "worker" not in trial.user_attrs:  # drawn by another engine
            trial.set_user_attr("worker", worker())
        recipe = self.prepare(trial)
        epochs: list[Epoch] = []
        try:
            self._refuse_hopeless(recipe)
            return self._train(trial, recipe, epochs)
        except Exception as error:
            reason = _hopeless(error)
            if reason is None:
                raise
        epochs.clear()  # they hold the heads
        gc.collect()
        if self.setup.device.type == "cuda":
            torch.cuda.empty_cache()
        trial.set_user_attr("error", reason)
        raise optuna.TrialPruned(reason)

    def prepare(self, trial: BaseTrial) -> Recipe:
        """What the trial trains, noted on it: a recipe that another trial has already gets the next seed."""
        asked = self.setup.recipe(self.space(trial))
        recipe = _unlike_others(trial, asked)
        trial.set_user_attr("recipe", recipe.to_json())
        if recipe != asked and "note" not in trial.user_attrs:
            trial.set_user_attr("note", f"drawn again: seed {recipe.seed}")
        return recipe

    def _refuse_hopeless(self, recipe: Recipe) -> None:
        device = self.setup.device
        needed, there = self.setup.memory_needed(recipe), memory(device)
        if needed > there:
            raise Hopeless(f"not started: it needs about {needed / 1e9:.1f} GB, and {device} has {there / 1e9:.1f} GB")

    def _train(self, trial: BaseTrial, recipe: Recipe, epochs: list[Epoch]) -> float:
        bank = self.setup.bank(recipe)
        _refuse_other_weights(trial, recipe, bank)
        trial.set_user_attr("weights", bank.weights)
        judge = _Judge(trial, before=max(_reported(trial), default=0))
        if self.setup.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.setup.device)
        start = perf_counter()
        end: Exception | None = None
        for epoch in train(recipe, bank, self.setup.device):
            epochs.append(epoch)
            self.listen(f"trial {trial.number}", recipe, epoch)
            end = judge(epoch)
            if end is not None:
                break
        self._record(trial, recipe, bank, epochs, perf_counter() - start)
        if end is not None:
            raise end
        return epochs[-1].score

    def _record(self, trial: BaseTrial, recipe: Recipe, bank: Bank, epochs: list[Epoch], seconds: float) -> None:
        last = epochs[-1]
        size = heads.size(recipe, len(bank.classes))
        attributes: dict[str, Any] = {
            **{name: _finite(value) for name, value in last.best.to_json().items()},
            "epoch": last.best_number,
            "epochs": last.number,
            "seconds": round(seconds, 3),
            "parameters": {"total": size.total, "trainable": size.trainable, "MB": round(size.megabytes, 2)},
            "device": {"name": _device_name(self.setup.device), "threads": torch.get_num_threads()},
            "answers": _rows(last.answers),
            "memory": {"ram_MB": _peak_ram(), "vram_MB": _peak_vram(self.setup.device)},
            "curves": {
                part: {
                    name: [_finite(getattr(getattr(epoch, part), name)) for epoch in epochs]
                    for name in last.val.to_json()
                }
                for part in ("train", "val")
            },
        }
        for name, value in attributes.items():
            trial.set_user_attr(name, value)


def objective(
    study: str,
    *,
    data: str | Path | None = None,
    weights: str | None = None,
    views: int | None = None,
    overrides: dict[str, str] | None = None,
    only: dict[str, list[str]] | None = None,
    objects: str = "largest",
    split: str | None = None,
    device: str = "auto",
    spaces: Path | None = None,
    bank: Path | None = None,
) -> Objective:
    """The objective of a space on a folder of frames (the sample if None), for a notebook or another engine."""
    chosen = space.load(study, spaces or space.default_folder())
    place = setup.data_place(data)
    frames = setup.read_frames(place, objects)
    settings = setup.new_settings(
        chosen,
        place,
        frames,
        weights=weights,
        views=views,
        overrides=overrides,
        only=only,
        objects=objects,
        split_kind=split,
    )
    return Objective(chosen.narrowed(settings.only), setup.open_setup(settings, frames, device, bank))


class Hopeless(Exception):
    """A trial that cannot come to anything."""


def _hopeless(error: Exception) -> str | None:
    """Why a trial came to nothing, where that is its own doing; None for any other error."""
    if isinstance(error, Hopeless):
        return str(error)
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error):
        return f"out of memory: {first_line(error)}"
    return None


@dataclass
class _Judge:
    """Reports a trial at its rungs, and says what ends it. Steps that an interrupted run reported stand as they are."""

    trial: BaseTrial
    before: int  # the last step of such a run; it may not have been judged at that
    step: int = 0

    def __call__(self, epoch: Epoch) -> Exception | None:
        if not (math.isfinite(epoch.train.loss) and math.isfinite(epoch.val.loss)):
            return Hopeless(f"diverged: its loss is not a number from epoch {epoch.number} on")
        step, self.step = self.step, epoch.passes // RUNG * RUNG
        if self.step == step or self.step < self.before:
            return None
        if self.step > self.before:
            self.trial.report(epoch.score, self.step)
        if not self.trial.user_attrs.get(PINNED) and self.trial.should_prune():
            return optuna.TrialPruned(f"loses to others after {epoch.passes} passes")
        return None


def _earlier(trial: BaseTrial) -> list[optuna.trial.FrozenTrial]:
    """The study's trials up to this one; none where there is no study, as under FixedTrial."""
    study = getattr(trial, "study", None)
    return [] if study is None else study.get_trials(deepcopy=False)[: trial.number + 1]


def _refuse_other_weights(trial: BaseTrial, recipe: Recipe, bank: Bank) -> None:
    """MilairError if an earlier trial used other weights for the same backbone: their scores cannot be compared."""
    for other in _earlier(trial):
        kept = other.user_attrs
        then = kept.get("recipe", {})
        same = (then.get("backbone"), then.get("weights")) == (recipe.backbone, recipe.weights)
        if same and kept.get("weights", bank.weights) != bank.weights:
            raise MilairError(
                f"the weights of {recipe.backbone} are not those of trial {other.number} "
                f"({bank.weights}, then {kept['weights']}); --name NAME starts another study"
            )


def _unlike_others(trial: BaseTrial, recipe: Recipe) -> Recipe:
    """The recipe with the first seed, from its own on, that no other trial of the study has it with."""
    study, asked = getattr(trial, "study", None), recipe.to_json()
    others = [] if study is None else study.get_trials(deepcopy=False)
    recipes = [other.user_attrs.get("recipe", {}) for other in others if other.number != trial.number]
    used = {found["seed"] for found in recipes if found | {"seed": recipe.seed} == asked}
    return replace(recipe, seed=next(seed for seed in count(recipe.seed) if seed not in used))


def _reported(trial: BaseTrial) -> list[int]:
    """Steps that an interrupted run of this very trial has reported already."""
    own = _earlier(trial)[-1:]
    return list(own[0].intermediate_values) if own else []


def _rows(answers: Answers) -> list[list[float | None]]:
    """Of each validation picture, in the split's order: the class's number, its probability, the box in shares."""
    probability, label = answers.logits.double().softmax(1).max(1)
    rows = torch.cat([label[:, None], probability[:, None], answers.boxes.double()], dim=1)
    return [[int(row[0]), *(_finite(round(value, 5)) for value in row[1:])] for row in rows.tolist()]


def _finite(value: float) -> float | None:
    """JSON knows no NaN, and a browser that shows the study trips over one."""
    return value if math.isfinite(value) else None


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _peak_ram() -> float:
    """Of this process since it began, in MB: a trial's own share cannot be told."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024**2 if sys.platform == "darwin" else 1024), 1)


def _peak_vram(device: torch.device) -> float:
    return round(torch.cuda.max_memory_allocated(device) / 1024**2, 1) if device.type == "cuda" else 0.0
