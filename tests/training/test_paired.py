"""Outcomes frame by frame against the metrics of training, and the paired test against SciPy's and in simulations."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import torch
from folders import made_up
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from milair.training import metrics
from milair.training.paired import Truth, chance_not_worse, spread_over_seeds

SHARES = st.floats(0, 1, width=32)
BOXES = st.lists(st.tuples(SHARES, SHARES, SHARES, SHARES), min_size=1, max_size=8)


@given(BOXES, st.randoms())
def test_outcomes_are_those_of_the_metrics(boxes: list[tuple[float, float, float, float]], random: Random) -> None:
    frames = [made_up(f"{n}.png", "ab"[n % 2], (box[0], box[1], box[2], box[3])) for n, box in enumerate(boxes)]
    rows = [[float(random.randrange(2)), 0.9, *random.choice(boxes)] for _ in frames]
    outcomes = Truth.of(frames, "ab").outcomes(rows)
    predicted, target = torch.tensor(rows, dtype=torch.float64)[:, 2:], torch.tensor(boxes, dtype=torch.float64)
    np.testing.assert_allclose(outcomes[:, 0], metrics.iou(predicted, target).numpy(), atol=1e-12)
    assert outcomes[:, 1].tolist() == [row[0] == number % 2 for number, row in enumerate(rows)]


def test_a_frame_without_outputs_is_not_known() -> None:
    truth = Truth.of([made_up("a.png", "a"), made_up("b.png", "b")], "ab")
    outcomes = truth.outcomes([[], [1, 0.9, 0, 0, 1, 1]])
    np.testing.assert_allclose(outcomes, np.array([[np.nan, np.nan], [1, 1]]), atol=1e-5)
    assert np.isnan(truth.outcomes([[], []])).all()


def test_of_two_trainings_the_chance_is_that_of_a_paired_t_test() -> None:
    random = np.random.default_rng(1)
    theirs = random.random(38)
    for shift in (-0.1, 0.0, 0.1):
        mine = theirs + shift + random.normal(0, 0.3, 38)
        expected = stats.ttest_rel(mine, theirs, alternative="less").pvalue
        assert chance_not_worse(mine, theirs) == pytest.approx(expected, abs=1e-12)
        gaps = np.append(mine, [np.nan, 0.3]), np.append(theirs, [0.5, np.nan])
        assert chance_not_worse(*gaps) == pytest.approx(expected, abs=1e-12)  # what both know counts


def test_nothing_is_worse_than_itself_or_known_by_one_frame() -> None:
    scores = np.array([0.2, 0.9, 0.4])
    assert chance_not_worse(scores, scores) == 1
    assert chance_not_worse(scores + 0.25, scores) == 1
    assert chance_not_worse(scores[:1], scores[:1] + 0.5) == 1
    assert chance_not_worse(scores - 0.25, scores) == 0  # on every frame by as much


def test_seeds_make_a_difference_less_certain_and_more_trainings_more() -> None:
    random = np.random.default_rng(2)
    theirs = random.random(50)
    mine = theirs - 0.1 + random.normal(0, 0.2, 50)
    chances = [chance_not_worse(mine, theirs, spread, (n, n)) for spread, n in [(0.0, 1), (0.05, 4), (0.05, 1)]]
    assert chances == sorted(chances)
    assert chances[0] < 0.01 < 0.05 < chances[2]


def test_of_equal_recipes_as_many_are_called_worse_as_is_said() -> None:
    """With noise of frames and of seeds: in one of twenty cases at 5%."""
    random, cases = np.random.default_rng(3), 4000
    worse = 0
    for _ in range(cases):
        hard = random.random(38)
        mine, theirs = (hard + random.normal(0, 0.3, 38) + random.normal(0, 0.03) for _ in range(2))
        worse += chance_not_worse(mine, theirs, 0.03) < 0.05
    assert 0.03 < worse / cases < 0.06


def test_the_spread_over_seeds_is_pooled() -> None:
    assert spread_over_seeds([[0.5], [0.9]]) == 0
    assert spread_over_seeds([[0.4, 0.6], [0.9], [0.1, 0.2, 0.3]]) == pytest.approx(((0.02 + 0.02) / 3) ** 0.5)
