"""What a report promises, on the recorded sets of drawn frames; its correction on made-up recipes of known truth."""

from __future__ import annotations

import numpy as np
import pytest
from selection.calibration import Calibration, calibrations, read

from milair.training.noise import Noise, Numbers, luck

TRUTH = 0.8


def made_up(number: int, spread: float = 0.0, recipes: int = 20, frames: int = 48) -> tuple[Numbers, Numbers]:
    """True scores [recipes], and outcomes [recipes, frames] that agree on which frames are hard."""
    random = np.random.default_rng(number)
    true = TRUTH + spread * random.standard_normal(recipes)
    noise = 0.25 * random.standard_normal(frames) + 0.12 * random.standard_normal((recipes, frames))
    return true, true[:, None] + noise


def optimism(spread: float, sets: int = 250) -> tuple[float, float]:
    """On average over sets: of the best one's own mean, and of what is expected of it."""
    rows = []
    for number in range(sets):
        true, outcomes = made_up(number, spread)
        best = outcomes.mean(1).argmax()
        plain = outcomes[best].mean() - true[best]
        rows.append((plain, plain - luck(outcomes, draws=100)))
    plain, corrected = np.mean(rows, axis=0).tolist()
    return plain, corrected


def test_the_best_of_equal_recipes_is_overrated_and_corrected() -> None:
    plain, corrected = optimism(0.0)
    assert plain > 0.025
    assert abs(corrected) < 0.005


def test_the_best_of_different_recipes_is_corrected_by_less_and_never_overrated() -> None:
    plain, corrected = optimism(0.03)
    assert 0.008 < plain < 0.025
    assert -0.01 < corrected < 0.003


def test_one_recipe_or_one_frame_is_not_picked_and_has_no_luck() -> None:
    _, outcomes = made_up(0)
    assert luck(outcomes[:1]) == 0
    assert luck(outcomes[:, :1]) == 0


def test_a_recipe_that_is_better_on_every_frame_has_no_luck() -> None:
    _, outcomes = made_up(0)
    assert luck(np.stack([outcomes[0], outcomes[0] - 0.01])) == 0


def test_what_is_expected_of_the_best_is_its_score_less_its_luck() -> None:
    _, outcomes = made_up(2)
    noise, best = Noise(dict(enumerate(outcomes[:, None]))), int(outcomes.mean(1).argmax())
    score, expected = noise.score(best), noise.expected(best)
    assert score.value - expected.value == pytest.approx(luck(outcomes))
    assert expected.high - expected.low == pytest.approx(score.high - score.low)
    worst = int(outcomes.mean(1).argmin())
    assert noise.expected(worst) == noise.score(worst)  # whoever picks it has had no luck


def test_the_order_of_recipes_does_not_matter() -> None:
    _, outcomes = made_up(1)
    assert luck(outcomes[::-1]) == pytest.approx(luck(outcomes))


def test_optimism_and_coverage_of_reports() -> None:
    reported, true = np.array([[0.8], [0.6], [0.7], [0.9]]), np.full((4, 1), 0.7)
    found = Calibration(reported - true, np.full((4, 1), 0.15))
    bias, error = found.bias
    assert bias == pytest.approx(0.05)
    assert error == pytest.approx(np.std([0.1, -0.1, 0, 0.2], ddof=1) / 2)
    share, low, high = found.coverage
    assert share == 0.75
    assert 0 < low < share < high < 1


@pytest.fixture(scope="module")
def drawn() -> dict[str, dict[str, Calibration]]:
    return {name: calibrations(way) for name, way in read().items()}


Drawn = dict[str, dict[str, Calibration]]


def test_less_its_luck_the_best_is_rated_right_on_average(drawn: Drawn) -> None:
    for way in drawn.values():
        bias, error = way["best, less its luck"].bias
        assert len(way["best, less its luck"].optimism) >= 100
        assert abs(bias) + 2 * error < 0.01


def test_without_the_correction_it_is_overrated_and_intervals_miss(drawn: Drawn) -> None:
    folds, holdout = (drawn[way]["best, as reported"] for way in ("folds", "holdout"))
    assert folds.bias[0] > 3 * folds.bias[1]
    assert folds.coverage[0] < 0.88
    assert holdout.bias[0] > 0.01
    assert holdout.bias[0] > 2 * folds.bias[0]


def test_in_folds_intervals_of_frames_alone_are_too_narrow(drawn: Drawn) -> None:
    """Even of a recipe that nobody picked; the spread over seeds makes up for it."""
    folds = drawn["folds"]
    assert folds["fixed, mean of all"].coverage[2] < 0.95
    assert 0.92 <= folds["fixed, spread added"].coverage[0] <= 0.98


def test_with_both_intervals_cover_as_they_say_within_what_120_sets_can_tell(drawn: Drawn) -> None:
    """98.3% in folds, two sets of 120 missed: to be told apart from 95% it would take more of them."""
    for way in drawn.values():
        _, low, high = way["best, both"].coverage
        assert low < 0.95 < high
