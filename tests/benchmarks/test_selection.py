"""The benchmark of selection: what its rules may see and spend, and what the recorded trainings say of pruning."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from selection.simulate import RULES, Search, View, difference, load, pruning, replay, worth

from milair.study.pruners import LEVEL, pruner


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
    view = View(scores, fold, np.ones(8), np.nanmean(scores, axis=1), np.zeros((8, 5, 10)), np.full(8, "cosine 1"))
    for name, picks in replay([view], RULES, 80, 5).items():
        assert [pick and pick.recipe for pick in picks[0]] == [3] * 5, name


@pytest.mark.parametrize("fold", range(5))
def test_the_median_rule_is_that_of_optuna(views: list[View], fold: int) -> None:
    """Recipes of one kind one after another: each is ended where milair's own pruner ends it, if at all."""
    view = views[0]
    recipes = np.flatnonzero(view.kind == "cosine 2").tolist()
    search, peers = Search(view, recipes, 0, np.random.default_rng(0)), list[int]()
    study = optuna.create_study(direction="maximize", pruner=pruner(None, 0))
    for recipe in recipes:
        trial, share = study.ask(), 1.0
        trial.set_user_attr("recipe", {"schedule": "cosine", "looks": 2})
        for rung, score in enumerate(view.curves[recipe, fold], 1):
            trial.report(float(score), 10 * rung)
            if share == 1 and trial.should_prune():
                share = rung / 10
        assert search.ended(recipe, fold, peers) == pytest.approx(share)
        if share == 1:
            peers.append(recipe)
            study.tell(trial, 0.5)
        else:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
    assert len(peers) >= 4


def test_the_default_is_beaten_by_nothing_told_apart_at_the_time_of_its_forty_trials(views: list[View]) -> None:
    picks = replay(views, RULES, 60, 60)
    default = worth(views, picks["first fold, then all"])
    for name, each in picks.items():
        gain, half = difference(worth(views, each), default)
        assert gain < half or name == "first fold, then all"
    gain, half = difference(default, worth(views, picks["single holdout"]))
    assert gain > half


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
