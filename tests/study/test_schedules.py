"""Studies of schedules: the steps at which they report, whom a pruner compares, and what is trained again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from safetensors.torch import load_file
from tiny import make

from milair import Recipe, objective
from milair.study import PAIRED
from milair.study.kept import curves
from milair.study.objective import Objective
from milair.study.pruners import PRUNERS, SAFE, pruner, step
from milair.study.retraining import Retrained, Retraining

STEPS = {False: range(10, 1210, 10), True: range(10, 110, 10)}


class _At(optuna.pruners.BasePruner):
    """Prunes at one step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:  # noqa: ARG002
        return trial.last_step == self.step


def scheduled(folder: Path, **overrides: str) -> Objective:
    given = {"schedule": "cosine", "warmup": "0.2", "ema": "0.5", "box_loss": "giou", "patience": "1"} | overrides
    place, spaces = folder / "frames", folder / "spaces"
    return objective("tiny", data=place, views=2, device="cpu", spaces=spaces, bank=folder / "bank", overrides=given)


def test_steps_are_passes_or_percent_of_a_schedule() -> None:
    constant, short, long = Recipe(augmentations=4), *(Recipe(schedule="cosine", epochs=count) for count in (25, 50))
    assert [step(constant, epochs) for epochs in (1, 2, 3, 5, 200)] == [0, 0, 10, 20, 800]
    for recipe in (short, long):  # both meet at every rung
        assert sorted({step(recipe, epoch) for epoch in range(recipe.epochs + 1)}) == list(range(0, 101, 10))
    assert [step(short, epoch) for epoch in (2, 3, 24, 25)] == [0, 10, 90, 100]


@pytest.mark.parametrize(("at", "epochs", "state"), [(40, 2, TrialState.PRUNED), (100, 5, TrialState.COMPLETE)])
def test_a_schedule_is_pruned_on_its_way_and_never_at_its_end(
    tmp_path: Path, at: int, epochs: int, state: TrialState
) -> None:
    make(tmp_path)
    plain = optuna.create_study(direction="maximize", pruner=_At(at))
    plain.optimize(scheduled(tmp_path), n_trials=1)
    (trial,) = plain.trials
    assert trial.state == state
    assert list(trial.intermediate_values) == [20 * epoch for epoch in range(1, epochs + 1)]
    assert trial.user_attrs["epoch"] == trial.user_attrs["epochs"] == epochs
    assert trial.value == trial.intermediate_values[20 * epochs]
    assert trial.user_attrs["iou"] == (curves(trial) or {})["val"]["iou"][-1]


def decisions(kind: str, loud: bool) -> Iterator[tuple[int, int]]:
    """At which step each schedule is pruned, 1000 if never, among constant ones that report perfect scores or none."""
    study = optuna.create_study(study_name="both", direction="maximize", pruner=pruner(kind, 1200))
    for number in range(40):
        trial, schedules, score = study.ask(), number % 2 == 1, 1 - number / 40
        trial.set_user_attr("recipe", Recipe(schedule="cosine" if schedules else "constant").to_json())
        for rung in STEPS[schedules] if schedules or loud else ():
            trial.report(score if schedules else 1.0, rung)
            if schedules and trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                yield number, rung
                break
        else:
            study.tell(trial, score)
            yield number, 1000


@pytest.mark.parametrize("kind", [kind for kind in PRUNERS if kind != PAIRED])
def test_a_schedule_is_compared_with_schedules_only(kind: str) -> None:
    pruned = [rung for number, rung in decisions(kind, loud=True) if number % 2]
    assert pruned == [rung for number, rung in decisions(kind, loud=False) if number % 2]
    assert (min(pruned) < 1000) == (kind != "none")
    assert min(pruned) >= SAFE
    assert pruned[0] == 1000  # it had no peer to lose to


def test_a_pruned_schedule_is_trained_again_to_its_end(tmp_path: Path) -> None:
    make(tmp_path)
    made = scheduled(tmp_path)
    plain = optuna.create_study(direction="maximize", pruner=_At(40))
    plain.optimize(made, n_trials=1)
    session = replace(made.session, study=plain)
    for everything, difference in ((False, 0.0), (True, None)):
        (model,) = Retraining(session, made.trainer, everything)(plain.trials[:1], tmp_path / "model")
        assert isinstance(model, Retrained)
        assert (model.epoch, model.difference) == (5, difference)
        assert json.loads((tmp_path / "model" / "model.json").read_text())["recipe"]["epochs"] == 5


def test_two_looks_are_told_as_one_schedule_and_come_out_again_to_the_last_digit(tmp_path: Path) -> None:
    make(tmp_path)
    made = scheduled(tmp_path, looks="2", crop_size="48", iterations="3")
    plain = optuna.create_study(direction="maximize")
    plain.optimize(made, n_trials=1)
    (trial,) = plain.trials
    assert list(trial.intermediate_values) == list(range(10, 101, 10))
    assert trial.user_attrs["epoch"] == trial.user_attrs["epochs"] == 10
    assert trial.value != trial.intermediate_values[90]
    assert trial.user_attrs["iou"] != (curves(trial) or {})["val"]["iou"][-1]  # by all iterations
    (model,) = Retraining(replace(made.session, study=plain), made.trainer)(plain.trials, tmp_path / "model")
    assert isinstance(model, Retrained)
    assert (model.epoch, model.difference) == (10, 0.0)
    names = {name.split(".")[0] for name in load_file(tmp_path / "model" / "model.safetensors")}
    assert names == {"backbone", "heads", "second"}
