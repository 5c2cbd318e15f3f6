"""Intervals against closed forms, and in simulations whose truth is known."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from milair.training.noise import Estimate, Noise, Numbers

Z = statistics.NormalDist().inv_cdf(0.975)
T4 = 2.7764  # the same of Student's t with 4 degrees of freedom

Outcomes = dict[str, list[Numbers]]


@st.composite
def outcomes(draw: st.DrawFn, seeds: int = 3) -> Outcomes:
    """Three recipes, each trained one to `seeds` times."""
    frames = draw(st.integers(2, 12))
    run = st.lists(st.floats(0, 1, width=32), min_size=frames, max_size=frames).map(np.array)
    return {name: draw(st.lists(run, min_size=1, max_size=seeds)) for name in "abc"}


def alike(frames: int = 400) -> Outcomes:
    """Two recipes that find the same frames hard, and one that has nothing to do with them."""
    random = np.random.default_rng(3)
    hard = random.beta(3, 2, frames)
    wobble = random.normal(0, 0.03, (2, frames))
    return {"a": [hard + wobble[0]], "b": [hard - 0.02 + wobble[1]], "other": [random.beta(3, 2, frames)]}


def constant(*scores: float) -> list[Numbers]:
    """Trainings that do equally well on every frame, so that only their seeds make noise."""
    return [np.full(2, score) for score in scores]


def difference(noise: Noise, key: str, other: str, level: float = 0.95) -> Estimate:
    (estimate,) = noise.differences([(key, other)], level)
    return estimate


def width(estimate: Estimate) -> float:
    return estimate.high - estimate.low


def close(
    estimate: Estimate, value: float, low: float, high: float, tolerance: float = 1e-9, least: float = -1
) -> bool:
    """Whether it is that, cut to what is possible."""
    expected = value, max(low, least), min(high, 1)
    return (estimate.value, estimate.low, estimate.high) == pytest.approx(expected, abs=tolerance)


def test_of_many_frames_intervals_are_those_of_the_standard_error() -> None:
    for name, (row,) in alike().items():
        estimate = Noise(alike()).score(name)
        assert estimate.value == row.mean()
        assert width(estimate) / 2 == pytest.approx(Z * row.std() / len(row) ** 0.5, rel=0.04)


def test_of_few_frames_they_are_wider_as_students_are() -> None:
    row = np.random.default_rng(1).normal(0.5, 0.05, 6)
    t5 = 2.5706  # Student's t with 5 degrees of freedom
    estimate = Noise({"a": [row]}, draws=20_000).score("a")
    assert width(estimate) / 2 > t5 * row.std(ddof=1) / len(row) ** 0.5


def test_one_frame_tells_nothing() -> None:
    noise = Noise({"a": [np.array([0.9])], "b": [np.array([0.1])]})
    assert noise.score("a") == Estimate(0.9, 0.0, 1.0)
    assert difference(noise, "a", "b") == Estimate(0.8, -1.0, 1.0)


def test_a_difference_is_paired_frame_by_frame() -> None:
    rows, noise = alike(), Noise(alike())
    (first,), (second,) = rows["a"], rows["b"]
    paired = difference(noise, "a", "b")
    unpaired = math.hypot(width(noise.score("a")), width(noise.score("b")))
    assert width(paired) / 2 == pytest.approx(Z * (first - second).std() / len(first) ** 0.5, rel=0.04)
    assert width(paired) < unpaired / 4
    assert (paired.sign, noise.against("a", float(second.mean())).sign) == (1, 0)
    stranger = math.hypot(width(noise.score("a")), width(noise.score("other")))
    assert width(difference(noise, "a", "other")) == pytest.approx(stranger, rel=0.15)


@given(outcomes(seeds=1))
def test_a_recipe_trained_once_does_not_differ_from_itself(rows: Outcomes) -> None:
    assert difference(Noise(rows, draws=50), "a", "a") == Estimate(0.0, 0.0, 0.0)


@given(outcomes(seeds=1))
def test_swapped_recipes_mirror_the_interval(rows: Outcomes) -> None:
    noise = Noise(rows, draws=200)
    there, back = difference(noise, "a", "b"), difference(noise, "b", "a")
    assert close(back, -there.value, -there.high, -there.low)


def test_with_seeds_swapped_recipes_mirror_it_but_for_the_draws() -> None:
    noise = Noise({"a": constant(0.5, 0.6, 0.7), "b": constant(0.42, 0.44, 0.46)})
    there, back = difference(noise, "a", "b"), difference(noise, "b", "a")
    assert back.value == -there.value
    assert close(back, -there.value, -there.high, -there.low, width(there) / 25)


@given(outcomes(), st.floats(0, 1))
def test_a_wider_level_holds_the_narrower_interval(rows: Outcomes, published: float) -> None:
    noise = Noise(rows, draws=200)
    asks: list[Callable[[float], Estimate]] = [
        lambda level: noise.score("a", level),
        lambda level: difference(noise, "a", "b", level),
        lambda level: noise.against("a", published, level),
    ]
    for ask in asks:
        inner, outer = ask(0.8), ask(0.95)
        assert outer.low <= inner.low <= inner.high <= outer.high
        assert inner.value == outer.value


@given(outcomes())
def test_spread_is_the_pooled_deviation_over_seeds(rows: Outcomes) -> None:
    scores = [[float(run.mean()) for run in runs] for runs in rows.values() if len(runs) > 1]
    freedom = sum(len(found) - 1 for found in scores)
    total = sum((len(found) - 1) * statistics.variance(found) for found in scores)
    expected = (total / freedom) ** 0.5 if freedom else 0.0
    deviation, counted = Noise(rows).spread
    assert deviation == pytest.approx(expected, abs=1e-9)
    assert counted == freedom


def test_seeds_add_students_t_with_the_pooled_degrees_of_freedom() -> None:
    noise = Noise({"a": constant(0.4, 0.5, 0.6), "b": constant(0.3, 0.5, 0.7), "c": constant(0.2)}, draws=100_000)
    deviation, freedom = noise.spread
    assert deviation == pytest.approx((0.1 / 4) ** 0.5)
    assert freedom == 4
    for estimate, value, trainings in (
        (noise.score("a"), 0.5, 1 / 3),
        (noise.score("c"), 0.2, 1),
        (difference(noise, "a", "b"), 0, 1 / 3 + 1 / 3),
        (difference(noise, "a", "c"), 0.3, 1 / 3 + 1),
        (noise.against("a", 0.45), 0.05, 1 / 3 + 1),
        (noise.against("c", 0.45), -0.25, 1 + 1),
    ):
        half = T4 * deviation * trainings**0.5
        least = 0 if estimate.value in (0.5, 0.2) else -1  # scores, and differences
        assert close(estimate, value, value - half, value + half, half / 25, least)


@given(st.floats(0, 1), st.floats(0, 1))
def test_against_moves_with_the_published_score(one: float, other: float) -> None:
    rows = alike()
    noise = Noise(rows, draws=200)
    first, second = noise.against("a", one), noise.against("a", other)
    assert first.value == pytest.approx(rows["a"][0].mean() - one)
    assert close(second, first.value + one - other, first.low + one - other, first.high + one - other)


def test_against_gives_the_published_score_as_much_noise_as_ours() -> None:
    noise = Noise(alike())
    assert width(noise.against("a", 0.5)) == pytest.approx(2**0.5 * width(noise.score("a")), rel=0.04)


@given(outcomes(), st.integers(0, 2**31))
def test_the_same_seed_gives_the_same_numbers_whatever_the_order(rows: Outcomes, seed: int) -> None:
    def ask(given: Outcomes) -> list[Estimate]:
        noise = Noise(given, 600, seed)
        return [noise.score("a"), difference(noise, "a", "b"), noise.against("a", 0.5)]

    estimates = ask(rows)
    assert ask(rows) == estimates
    for turned, estimate in zip(ask(dict(reversed(rows.items()))), estimates, strict=True):
        assert close(turned, estimate.value, estimate.low, estimate.high)


def test_another_seed_gives_other_draws() -> None:
    one, other = (Noise(alike(), seed=seed).score("a") for seed in (0, 1))
    assert one.value == other.value
    assert one.low != other.low
    assert close(other, one.value, one.low, one.high, width(one) / 20)


@given(outcomes(seeds=1))
def test_recipes_beside_it_change_no_interval_without_seeds(rows: Outcomes) -> None:
    alone, beside = Noise({"b": rows["b"]}, draws=200).score("b"), Noise(rows, draws=200).score("b")
    assert close(beside, alone.value, alone.low, alone.high)


def test_recipes_without_trainings_are_left_out() -> None:
    assert list(Noise({"a": constant(0.5), "b": []}).outcomes) == ["a"]


@pytest.mark.parametrize(
    ("low", "high", "sign"),
    [(0.01, 0.03, 1), (-0.03, -0.01, -1), (-0.01, 0.03, 0), (0.0, 0.03, 0), (-0.03, 0.0, 0), (0.0, 0.0, 0)],
)
def test_a_sign_needs_the_whole_interval_on_one_side(low: float, high: float, sign: int) -> None:
    assert Estimate((low + high) / 2, low, high).sign == sign
    assert Estimate(-(low + high) / 2, -high, -low).sign == -sign


def test_estimates_in_words() -> None:
    estimate = Estimate(0.0124, -0.0301, 0.0539)
    assert str(estimate) == "+0.012 (-0.030 to +0.054)"
    assert estimate.span == "-0.030 to 0.054"


def test_several_differences_hold_together_by_the_widest_of_them() -> None:
    rows = alike(48)
    noise, pairs = Noise(rows), [("a", "b"), ("a", "other"), ("b", "other")]
    together = noise.differences(pairs)
    for (key, other), estimate in zip(pairs, together, strict=True):
        alone = difference(noise, key, other)
        assert estimate.value == pytest.approx(alone.value)
        assert estimate.low <= alone.low <= alone.high <= estimate.high
    ratios = {width(found) / (rows[a][0] - rows[b][0]).std() for (a, b), found in zip(pairs, together, strict=True)}
    assert max(ratios) == pytest.approx(min(ratios))  # so many standard errors for all
    assert Noise(rows).differences([]) == []


def test_rivals_are_those_that_no_other_is_better_than() -> None:
    noise = Noise(alike())
    assert noise.rivals() == ["a", "other"]
    assert Noise({"a": [np.array([0.2, 0.4])]}).rivals() == ["a"]


TRUTH = {"a": 0.6, "b": 0.5}
HARDNESS, OWN = 0.25, 0.1  # standard deviations over frames: of what all recipes share, and of each one's own
LUCK = 0.02  # of what a seed adds to a score
SIMULATIONS, FAMILIES = 600, 250


def coverage(seeds: int, luck: float) -> dict[str, float]:
    """How often 90% intervals hold the truth, over other frames and other seeds."""
    held = dict.fromkeys(("score", "difference", "against"), 0)
    for number in range(SIMULATIONS):
        random = np.random.default_rng(number)
        hard = random.normal(0, HARDNESS, 48)
        rows = {
            name: [frames + random.normal(0, luck) for _ in range(seeds)]
            for name, score in TRUTH.items()
            for frames in [score + hard + random.normal(0, OWN, 48)]
        }
        elsewhere = random.normal(0, math.hypot(HARDNESS, OWN), 48)
        published = TRUTH["b"] + elsewhere.mean() + random.normal(0, luck)
        noise = Noise(rows, draws=300, seed=number)
        for name, estimate, truth in (
            ("score", noise.score("a", 0.9), TRUTH["a"]),
            ("difference", difference(noise, "a", "b", 0.9), TRUTH["a"] - TRUTH["b"]),
            ("against", noise.against("a", published, 0.9), TRUTH["a"] - TRUTH["b"]),
        ):
            held[name] += estimate.low <= truth <= estimate.high
    return {name: count / SIMULATIONS for name, count in held.items()}


@pytest.mark.parametrize(("seeds", "luck"), [(1, 0.0), (3, LUCK)], ids=["no luck", "three seeds"])
def test_intervals_hold_the_truth_as_often_as_they_say(seeds: int, luck: float) -> None:
    """Within four points: a bootstrap of 48 frames falls one or two short, and the simulation errs by one."""
    for name, share in coverage(seeds, luck).items():
        assert share == pytest.approx(0.9, abs=0.04), name


def test_one_seed_cannot_show_what_another_would_have_given() -> None:
    assert coverage(1, LUCK)["difference"] < 0.75


def equals(number: int, recipes: int = 8, frames: int = 48) -> Outcomes:
    """Recipes of one true score, 0.5, that agree but for a few frames: some name a fifth of them wrongly and find the
    rest a little better. Frames that few recipes get wrong are what small samples miss."""
    random = np.random.default_rng(number)
    hard = random.normal(0, 0.1, frames)
    wrong = random.random((recipes, frames)) < np.linspace(0.02, 0.2, recipes)[:, None]
    made = 0.5 + hard - 0.5 * (wrong - np.linspace(0.02, 0.2, recipes)[:, None]) + random.normal(0, 0.02, wrong.shape)
    return {f"r{index}": [row] for index, row in enumerate(made)}


def test_of_equal_recipes_one_in_twenty_families_has_one_told_apart() -> None:
    """Not one in four, as by the resamples' own quantiles at Bonferroni's level."""
    told = percentile = 0
    for number in range(FAMILIES):
        rows = equals(number)
        pairs = [(name, "r0") for name in rows if name != "r0"]
        told += any(found.sign for found in Noise(rows, draws=400, seed=number).differences(pairs))
        apart = np.stack([rows[name][0] - rows["r0"][0] for name, _ in pairs], axis=1)
        drawn = np.random.default_rng(number).multinomial(48, np.full(48, 1 / 48), 4000) @ apart / 48
        low, high = np.quantile(drawn, [0.025 / len(pairs), 1 - 0.025 / len(pairs)], axis=0)
        percentile += bool(((low > 0) | (high < 0)).any())
    assert told / FAMILIES < 0.08
    assert percentile / FAMILIES > 0.15
