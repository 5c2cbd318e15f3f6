"""The benchmark of selection: what its rules may see and spend, and what the recorded trainings say of pruning."""

from __future__ import annotations

import numpy as np
import pytest
from selection.simulate import RULES, View, load, pruning, replay, worth

from milair.study.pruners import LEVEL


@pytest.fixture(scope="module")
def views() -> list[View]:
    return load()


def test_each_block_is_seen_by_nobody_while_it_is_the_test(views: list[View]) -> None:
    assert len(views) == 6
    for view in views:
        assert np.isnan(view.scores[:, view.fold == -1]).all()
        assert not np.isnan(view.scores[:, view.fold >= 0]).any()
        assert sorted(set(view.fold.tolist())) == [-1, 0, 1, 2, 3, 4]


def test_a_recipe_that_is_far_better_is_found_by_every_rule() -> None:
    random = np.random.default_rng(1)
    fold = np.arange(180) % 6 - 1
    scores = np.where(fold >= 0, random.normal(0.5, 0.05, (8, 180)), np.nan)
    scores[3] += 0.4
    view = View(scores, fold, np.ones(8), np.nanmean(scores, axis=1))
    for name, picks in replay([view], RULES, 80, 5).items():
        assert [pick and pick.recipe for pick in picks[0]] == [3] * 5, name


def test_a_search_without_time_picks_nothing_and_is_worth_a_blind_pick(views: list[View]) -> None:
    for picks in replay(views[:1], RULES, 0, 2).values():
        assert picks == [[None, None]]
        assert worth(views[:1], picks)[0] == pytest.approx(views[0].truth.mean())


def test_paired_pruning_saves_two_fifths_and_keeps_the_best(views: list[View]) -> None:
    saved, wrong = pruning(views, LEVEL, searches=20)
    assert saved >= 0.4
    assert wrong <= 0.05
    assert sum(pruning(views, 0.0, searches=2)) == pytest.approx(0, abs=1e-6)
    assert pruning(views, 0.5, searches=20)[1] > 0.05  # a rule that forgives nothing prunes it
