"""One trial as an objective: builds, trains, reports, prunes. A plain callable for any engine that runs Optuna.

study.optimize(objective("heads", data="my/frames"), n_trials=20)
"""

from __future__ import annotations

import resource
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import optuna
import psutil
import torch
from optuna.trial import BaseTrial

from milair import heads, setup, space
from milair.bank import Bank
from milair.errors import MilairError
from milair.recipe import Recipe
from milair.setup import Setup
from milair.space import Space
from milair.train import Epoch, train

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
        trial.set_user_attr("worker", worker())  # first of all: who dies without it is not known to be dead
        recipe = self.recipe(trial)
        trial.set_user_attr("recipe", recipe.to_json())
        bank = self.setup.bank(recipe)
        _refuse_other_weights(trial, recipe, bank)
        trial.set_user_attr("weights", bank.weights)
        pinned, reported = trial.user_attrs.get(PINNED, False), _reported(trial)
        if self.setup.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.setup.device)
        epochs: list[Epoch] = []
        start = perf_counter()
        try:
            for epoch in train(recipe, bank, self.setup.device):
                epochs.append(epoch)
                self.listen(f"trial {trial.number}", recipe, epoch)
                step = epoch.passes // RUNG * RUNG
                if step > (reported[-1] if reported else 0):
                    trial.report(epoch.score, step)
                    reported.append(step)
                    if not pinned and trial.should_prune():
                        raise optuna.TrialPruned(f"loses to others after {epoch.passes} passes")
            return epochs[-1].score
        finally:
            if epochs:
                self._record(trial, recipe, bank, epochs, perf_counter() - start)

    def recipe(self, trial: BaseTrial) -> Recipe:
        """What the trial trains: a configuration that was drawn before gets the next seed."""
        recipe = self.setup.recipe(self.space(trial))
        return replace(recipe, seed=recipe.seed + _drawn_before(trial))

    def _record(self, trial: BaseTrial, recipe: Recipe, bank: Bank, epochs: list[Epoch], seconds: float) -> None:
        last = epochs[-1]
        size = heads.size(recipe, len(bank.classes))
        attributes: dict[str, Any] = {
            **last.best.to_json(),
            "epoch": last.best_number,
            "epochs": last.number,
            "seconds": round(seconds, 3),
            "parameters": {"total": size.total, "trainable": size.trainable, "MB": round(size.megabytes, 2)},
            "device": {"name": _device_name(self.setup.device), "threads": torch.get_num_threads()},
            "memory": {"ram_MB": _peak_ram(), "vram_MB": _peak_vram(self.setup.device)},
            "curves": {
                part: {name: [getattr(getattr(epoch, part), name) for epoch in epochs] for name in last.val.to_json()}
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
    device: str = "auto",
    spaces: Path | None = None,
    bank: Path | None = None,
) -> Objective:
    """The objective of a space on a folder of frames (the sample if None), for a notebook or another engine."""
    chosen = space.load(study, spaces or space.default_folder())
    place = setup.data_place(data)
    frames = setup.read_frames(place)
    settings = setup.new_settings(chosen, place, frames, weights=weights, views=views, overrides=overrides)
    return Objective(chosen, setup.open_setup(settings, frames, device, bank))


def worker() -> dict[str, Any]:
    """Who runs a trial: enough to know later whether that process is still alive."""
    process = psutil.Process()
    return {
        "host": socket.gethostname(),
        "pid": process.pid,
        "started": process.create_time(),
    }


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


def _drawn_before(trial: BaseTrial) -> int:
    return sum(other.params == trial.params for other in _earlier(trial) if other.number < trial.number)


def _reported(trial: BaseTrial) -> list[int]:
    """Steps that an interrupted run of this very trial has reported already."""
    own = _earlier(trial)[-1:]
    return sorted(own[0].intermediate_values) if own else []


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _peak_ram() -> float:
    """Of this process since it began, in MB: a trial's own share cannot be told."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1024**2 if sys.platform == "darwin" else 1024), 1)


def _peak_vram(device: torch.device) -> float:
    return round(torch.cuda.max_memory_allocated(device) / 1024**2, 1) if device.type == "cuda" else 0.0
