"""Schedules against PyTorch's, the average of the weights against its definition."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from banks import CPU, RECIPE, SHAPE, bank, contrary, weights
from hypothesis import given
from hypothesis import strategies as st
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, OneCycleLR, SequentialLR

from milair import Recipe
from milair.model.heads import Heads
from milair.training.optimisation import Optimisation, rate
from milair.training.outputs import evaluate
from milair.training.train import learn, new_heads, train


def theirs(steps: int, scheduler: Any) -> list[float]:
    """The rates that one of PyTorch's schedulers goes through, from 1."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    schedule: LRScheduler = scheduler(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def ours(steps: int, **recipe: Any) -> list[float]:
    return [rate(Recipe(**recipe), step, steps) for step in range(steps)]


@pytest.mark.parametrize("warmup", [0.0, 0.05, 0.3, 0.9])
def test_one_cycle_is_pytorchs(warmup: float) -> None:
    expected = theirs(70, lambda optimizer: OneCycleLR(optimizer, 1.0, 70, pct_start=warmup, cycle_momentum=False))
    assert ours(70, schedule="onecycle", warmup=warmup) == pytest.approx(expected)


@pytest.mark.parametrize("warm", [0, 1, 20])
def test_cosine_and_its_warmup_are_pytorchs(warm: int) -> None:
    def schedule(optimizer: torch.optim.Optimizer) -> LRScheduler:
        cosine = CosineAnnealingLR(optimizer, 80 - warm)
        linear = LinearLR(optimizer, 1 / (warm + 1), total_iters=warm)
        return SequentialLR(optimizer, [linear, cosine], [warm]) if warm else cosine

    assert ours(80, schedule="cosine", warmup=warm / 80) == pytest.approx(theirs(80, schedule))


def test_a_constant_rate_warms_up_to_one() -> None:
    expected = theirs(50, lambda optimizer: LinearLR(optimizer, 1 / 11, total_iters=10))
    assert ours(50, warmup=0.2) == pytest.approx(expected)
    assert ours(50) == [1.0] * 50


@given(
    st.sampled_from(["constant", "cosine", "onecycle"]),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 60),
    st.data(),
)
def test_every_step_has_a_rate(schedule: Any, warmup: float, steps: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, steps - 1))
    assert 0 < rate(Recipe(schedule=schedule, warmup=warmup), step, steps) <= 1


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_the_average_is_that_of_all_steps_later_ones_weighing_more(decay: float) -> None:
    (heads,) = new_heads(RECIPE, bank(), CPU)
    optimisation = Optimisation(heads, replace(RECIPE, ema=decay), 6)
    learned = []
    for step in range(6):
        logits, boxes = optimisation.learner(torch.randn(8, *SHAPE, generator=torch.Generator().manual_seed(step)))
        optimisation.step(logits.square().mean() + boxes.square().mean())
        learned.append(weights(optimisation.learner))
    shares = [decay ** (5 - step) for step in range(6)]
    for name, value in weights(heads).items():
        if value.is_floating_point():
            expected = sum(share * one[name] for share, one in zip(shares, learned, strict=True)) / sum(shares)
            assert torch.allclose(value, torch.as_tensor(expected), atol=1e-5), name


def test_the_averaged_weights_are_validated_and_are_what_a_caller_has() -> None:
    recipe, data = replace(RECIPE, ema=0.9), bank()
    (heads,) = looks = new_heads(recipe, data, CPU)
    for epoch, unaveraged in zip(train(recipe, data, CPU, looks), train(RECIPE, data, CPU), strict=True):
        assert epoch.train == unaveraged.train  # what is learned is the same
        assert epoch.val != unaveraged.val
        assert evaluate(heads, data.val).metrics(data.val, recipe.alpha) == epoch.val


def test_a_loop_without_validation_trains_the_same() -> None:
    data = bank()
    (heads,), (others,) = looks = [new_heads(RECIPE, data, CPU) for _ in range(2)]
    training = [epoch.train for epoch in train(RECIPE, data, CPU, looks[0])]
    assert list(learn(RECIPE, others, data.train, CPU)) == training
    assert all(torch.equal(value, weights(others)[name]) for name, value in weights(heads).items())


@pytest.mark.parametrize("schedule", ["cosine", "onecycle"])
def test_a_schedule_goes_to_its_end_and_is_scored_there(schedule: Any) -> None:
    recipe = replace(RECIPE, schedule=schedule, warmup=0.2, alpha=0.0, epochs=12, patience=1)
    epochs = list(train(recipe, contrary(), CPU))  # where patience would end a constant one
    assert [epoch.number for epoch in epochs] == list(range(1, 13))
    assert all((epoch.best, epoch.best_number) == (epoch.val, epoch.number) for epoch in epochs)
    assert all(epoch.outputs for epoch in epochs)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "onecycle"])
def test_a_separable_problem_is_learned(optimizer: Any, schedule: Any) -> None:
    others: dict[str, Any] = {
        "label_smoothing": 0.1,
        "box_loss": "giou",
        "l1": 1.0,
        "ema": 0.9,
        "warmup": 0.1,
        "learning_rate": 0.03,
    }
    recipe = replace(RECIPE, optimizer=optimizer, schedule=schedule, epochs=40, patience=40, **others)
    last = list(train(recipe, bank(), CPU))[-1]
    assert last.score > 0.85


def test_adamw_decays_weights_apart_from_the_gradient() -> None:
    recipe = replace(RECIPE, optimizer="adamw", weight_decay=0.1)
    heads = Heads(recipe, SHAPE, 3)
    before = [parameter.detach().clone() for parameter in heads.parameters()]
    loss = torch.stack([parameter.sum() * 0 for parameter in heads.parameters()]).sum()
    Optimisation(heads, recipe, 1).step(loss)
    for parameter, value in zip(heads.parameters(), before, strict=True):
        assert torch.allclose(parameter, value * (1 - recipe.learning_rate * 0.1))
