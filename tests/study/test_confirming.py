"""Arms, what a sampler sees of them, which are pruned, and which are trained again, on trials made up of scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from milair import DenseHead, LinearHead, Recipe
from milair.study.arms import CONFIRMS, arm_of, arms, begun, means, scores, seen
from milair.study.confirming import Confirmation
from milair.study.pruners import AmongPeers, ByFolds, pruner, step
from milair.study.samplers import Sampler
from milair.training.paired import Numbers, Truth

FRAMES = 40
WHOLE = step(Recipe(), Recipe().epochs)  # the last step within the first fold
TRUTH = Truth(np.tile([0.0, 0.0, 1.0, 1.0], (FRAMES, 1)), np.zeros(FRAMES, int))
PAIRED = ByFolds(optuna.pruners.NopPruner(), TRUTH)


def outputs(frames: Numbers) -> list[list[float]]:
    """Outputs that are worth these scores, from 0.5 on: the class is right, and the box as wide as the IoU is."""
    return [[] if np.isnan(score) else [0, 0.9, 0, 0, 2 * score - 1, 1] for score in frames]


def trial(alpha: float, frames: Numbers, seed: int = 32, state: str = "COMPLETE", **attributes: Any) -> FrozenTrial:
    recipe = Recipe(alpha=alpha, seed=seed).to_json()
    kept = {"recipe": recipe, "answers": outputs(frames)} | attributes
    some = np.isnan(frames).any()  # by folds, of which the first has ended
    made = create_trial(
        intermediate_values={WHOLE + 1: float(np.nanmean(frames))} if some else {},
        state=TrialState[state],
        value=float(np.nanmean(frames)) if state in ("COMPLETE", "PRUNED") else None,
        params={"alpha": alpha},
        distributions={"alpha": optuna.distributions.FloatDistribution(0, 1)},
        user_attrs=kept,
    )
    made._trial_id = made.number = attributes.get("number", hash((alpha, seed)) % 10**6)
    return made


def noisy(mean: float, seed: int) -> Numbers:
    """Frames that are as hard for everybody, and a training's own noise."""
    hard = np.random.default_rng(0).uniform(-0.15, 0.15, FRAMES)
    return np.clip(mean + hard + np.random.default_rng([seed, 1]).normal(0, 0.03, FRAMES), 0.5, 1)


def numbered(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    for number, one in enumerate(trials):
        one.number = one._trial_id = number
    return list(trials)


def test_trials_that_differ_in_seeds_only_are_one_arm_and_its_mean_ranks_it() -> None:
    trials = numbered([trial(0.1, noisy(0.7, 1)), trial(0.2, noisy(0.75, 2)), trial(0.1, noisy(0.9, 3), seed=33)])
    best, other = arms(trials)
    assert [one.number for one in best.trials] == [0, 2]
    assert best.score == pytest.approx(np.mean([trials[0].value, trials[2].value]))
    np.testing.assert_allclose(best.frames(TRUTH), (scores(trials[0], TRUTH) + scores(trials[2], TRUTH)) / 2)
    assert [one.number for one in other.trials] == [1]


def test_an_arm_is_known_by_what_is_particular_about_its_recipe() -> None:
    """And by nothing else: a field that later recipes have, at its default, does not change it."""
    plain = Recipe(alpha=0.4, cls_head=DenseHead(blocks=3))
    assert arm_of(plain) == arm_of(replace(plain, seed=77)) == "204a5e524fc4"
    others = [
        replace(plain, alpha=0.5),
        replace(plain, cls_head=DenseHead(blocks=2)),
        replace(plain, cls_head=LinearHead()),
    ]
    assert len({arm_of(plain), *map(arm_of, others)}) == 4
    older = trial(0.4, noisy(0.7, 1))
    kept = trial(0.4, noisy(0.7, 1), seed=40, arm=arm_of(Recipe(alpha=0.4)))
    assert len(arms(numbered([older, kept]))) == 1


def test_what_was_confirmed_ranks_above_what_was_lucky_once() -> None:
    lucky, first, again = trial(0.1, noisy(0.9, 1)), trial(0.2, noisy(0.8, 2)), trial(0.2, noisy(0.8, 3), 33)
    assert arms(numbered([lucky, first, again]))[0].trials == [lucky]
    again.user_attrs[CONFIRMS] = 1
    assert arms(numbered([lucky, first, again]))[0].trials == [first, again]


def test_a_sampler_sees_means_and_the_study_keeps_its_values() -> None:
    study = optuna.create_study(direction="maximize")
    for one in (trial(0.1, noisy(0.6, 1)), trial(0.1, noisy(0.9, 2), seed=33), trial(0.3, noisy(0.7, 3))):
        study.add_trial(one)
    before = [one.value for one in study.trials]
    first, second, third = (one.value for one in seen(study, means).get_trials(deepcopy=False))
    assert first == second == pytest.approx((before[0] + before[1]) / 2)  # type: ignore[operator]
    assert third == before[2]
    assert [one.value for one in study.trials] == before


def test_draws_do_not_depend_on_which_seed_was_lucky() -> None:
    """Two studies whose arms have the same means: the sampler draws the same."""
    drawn = []
    for lucky in (0, 1):
        study = optuna.create_study(direction="maximize", sampler=Sampler("tpe", 3))
        for number in range(12):
            each = [noisy(0.55 + 0.03 * number + luck, number) for luck in ((0.05, -0.05) if lucky else (-0.05, 0.05))]
            for seed, frames in enumerate(each):
                value = float(0.55 + 0.03 * number + (0.05 if seed == lucky else -0.05))
                one = trial(round(0.05 * number, 2), frames, 32 + seed)
                one.value = value
                study.add_trial(one)
        drawn.append(study.ask({"alpha": optuna.distributions.FloatDistribution(0, 1)}).params)
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(("mean", "pruned"), [(0.6, True), (0.79, False), (0.9, False)])
def test_a_trial_that_is_worse_on_the_frames_so_far_is_pruned(mean: float, pruned: bool) -> None:
    study = optuna.create_study(direction="maximize")
    study.add_trial(trial(0.1, noisy(0.8, 1)))
    study.add_trial(trial(0.2, noisy(0.7, 2)))
    some = noisy(mean, 3)
    some[10:] = np.nan  # the first fold has ended
    running = trial(0.3, some, state="RUNNING", number=2)
    assert PAIRED.prune(study, running) == pruned


def test_easy_frames_do_not_hide_that_a_trial_is_worse() -> None:
    """Its fold is an easy one: its mean is above the best's, and on these very frames it is worse."""
    study = optuna.create_study(direction="maximize")
    best = noisy(0.7, 1)
    best[:10] = 0.95 + np.random.default_rng(4).uniform(-0.02, 0.02, 10)
    study.add_trial(trial(0.1, best))
    some = np.full(FRAMES, np.nan)
    some[:10] = best[:10] - 0.1 + np.random.default_rng(5).uniform(-0.02, 0.02, 10)
    assert np.nanmean(some) > best.mean()
    assert PAIRED.prune(study, trial(0.3, some, state="RUNNING", number=2))


def test_nothing_is_pruned_before_there_is_a_complete_trial() -> None:
    study = optuna.create_study(direction="maximize")
    study.add_trial(trial(0.2, noisy(0.9, 2), state="PRUNED"))
    assert not PAIRED.prune(study, trial(0.3, noisy(0.5, 3), state="RUNNING", number=2))


def one_fold(mean: float, seed: int, fold: int = 0) -> Numbers:
    frames = noisy(mean, seed)
    frames[: 10 * fold] = frames[10 * fold + 10 :] = np.nan
    return frames


def test_a_trial_ends_with_its_first_fold_unless_it_confirms_another() -> None:
    first = ByFolds(optuna.pruners.NopPruner(), TRUTH, first_only=True)
    study = optuna.create_study(direction="maximize")
    assert first.prune(study, trial(0.3, one_fold(0.9, 3), state="RUNNING"))
    study.add_trial(trial(0.1, noisy(0.8, 1)))
    assert first.prune(study, trial(0.3, one_fold(0.9, 3), state="RUNNING", number=1))
    assert not first.prune(study, trial(0.3, one_fold(0.9, 3), state="RUNNING", number=1, confirms=0))
    assert first.prune(study, trial(0.3, one_fold(0.6, 3), state="RUNNING", number=1, confirms=0))


def test_within_its_first_fold_a_trial_is_held_against_those_that_had_theirs() -> None:
    """They count as complete for Optuna's median pruner, and one that confirms is not held against any."""
    by_folds = pruner(None, WHOLE, TRUTH)
    assert isinstance(by_folds, ByFolds)
    assert isinstance(by_folds.within, AmongPeers)
    study = optuna.create_study(direction="maximize")
    for number in range(4):
        peer = trial(0.1 * number, one_fold(0.8, number), state="PRUNED", folds=1)
        peer.intermediate_values = {100: 0.7, WHOLE + 1: 0.8}
        study.add_trial(peer)
    for score, confirms, pruned in [(0.6, {}, True), (0.75, {}, False), (0.6, {CONFIRMS: 0}, False)]:
        running = trial(0.9, one_fold(0.8, 9), state="RUNNING", number=4, **confirms)
        running.intermediate_values = {100: score}
        assert by_folds.prune(study, running) == pruned


def test_what_had_one_fold_is_begun_until_it_was_confirmed() -> None:
    some = [
        trial(0.1, one_fold(0.8, 1), state="PRUNED", folds=1),
        trial(0.2, one_fold(0.9, 2), state="PRUNED", folds=1),
    ]
    early = trial(0.3, one_fold(0.99, 3), state="PRUNED")  # within its first fold
    trials = numbered([*some, early])
    assert [arm.trials[0].number for arm in begun(trials)] == [1, 0]
    assert arms(trials) == []
    assert Confirmation(TRUTH, 1).next(trials) == 1  # though nothing is complete
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    assert [one.state.name for one in seen(study, means).get_trials(deepcopy=False)] == [
        "COMPLETE",
        "COMPLETE",
        "PRUNED",
    ]
    worse = trial(0.2, one_fold(0.5, 4), 33, "PRUNED", folds=1, confirms=1)
    assert [arm.trials[0].number for arm in begun(numbered([*trials, worse]))] == [0]
    whole = trial(0.1, noisy(0.8, 5), 33, confirms=0)
    assert begun(numbered([*trials, worse, whole])) == []


def test_of_what_was_begun_the_ones_are_confirmed_that_look_best_beside_the_leader() -> None:
    """On its own frames, which may be easy ones; then the leader is trained again."""

    def eased(mean: float, seed: int) -> Numbers:
        frames = noisy(mean, seed)
        frames[:10] = 0.97 + np.random.default_rng(seed).uniform(-0.02, 0.02, 10)  # the first fold is easy
        return frames

    easy, hard = one_fold(0.9, 2), one_fold(0.86, 3, fold=2)
    trials = [trial(0.1, eased(0.8, 1))]
    trials += [trial(alpha, some, state="PRUNED", folds=1) for alpha, some in ((0.2, easy), (0.3, hard))]
    assert Confirmation(TRUTH, 3).next(numbered(trials)) == 2
    trials.append(trial(0.3, eased(0.86, 4), 33, confirms=2))
    assert [arm.trials[0].params["alpha"] for arm in Confirmation(TRUTH, 3).rivals(numbered(trials))] == [0.3]
    assert Confirmation(TRUTH, 3).next(numbered(trials)) == 3  # once more, whatever its lead
    trials.append(trial(0.3, eased(0.86, 5), 34, confirms=2))
    assert Confirmation(TRUTH, 3).next(numbered(trials)) is None


def confirm(trials: list[FrozenTrial], true: dict[float, float], budget: int) -> tuple[float, list[float]]:
    """Arms trained again to the end of a confirmation: the best one's alpha, and whose turn it was."""
    confirmation, turns = Confirmation(TRUTH, budget), list[float]()
    while (number := confirmation.next(numbered(trials))) is not None:
        alpha, seed = trials[number].params["alpha"], 33 + len(trials)
        trials.append(trial(alpha, noisy(true[alpha], seed), seed, confirms=number))
        turns.append(alpha)
    return arms(numbered(trials))[0].trials[0].params["alpha"], turns


def test_a_lucky_trial_is_found_out() -> None:
    true = {0.1: 0.80, 0.2: 0.78, 0.3: 0.60}
    trials = [trial(0.1, noisy(0.80, 1)), trial(0.2, noisy(0.82, 2)), trial(0.3, noisy(0.60, 3))]
    best, turns = confirm(trials, true, 12)
    assert best == 0.1
    assert set(turns) == {0.1, 0.2}  # what cannot be the best is not trained again


def test_confirmation_ends_with_its_budget_or_when_one_stands_out() -> None:
    close = [trial(0.1, noisy(0.8, 1)), trial(0.2, noisy(0.8, 2))]
    assert len(confirm(close, {0.1: 0.8, 0.2: 0.8}, 5)[1]) == 5
    apart = [trial(0.1, noisy(0.9, 1)), trial(0.2, noisy(0.6, 2))]
    assert confirm(apart, {0.1: 0.9, 0.2: 0.6}, 5) == (0.1, [0.1])  # once, whatever its lead
    assert Confirmation(TRUTH, 5).next([]) is None
    assert Confirmation(TRUTH, 0).next(apart) is None


def test_what_waits_or_runs_counts_as_trained_and_what_failed_does_not() -> None:
    trials = [trial(0.1, noisy(0.8, 1)), trial(0.2, noisy(0.8, 2))]
    first = Confirmation(TRUTH, 2).next(numbered(trials))
    assert first is not None
    alpha = trials[first].params["alpha"]
    trials.append(trial(alpha, noisy(0.8, 3), 33, "RUNNING", confirms=first))
    assert Confirmation(TRUTH, 2).next(numbered(trials)) == 1 - first
    trials[2] = replace_state(trials[2], "FAIL")
    assert Confirmation(TRUTH, 1).next(numbered(trials)) == first


def replace_state(made: FrozenTrial, state: str) -> FrozenTrial:
    made.state = TrialState[state]
    return made
