"""Confirmation: the arms that may be the best are trained again, with other seeds and cuts, until one stands out.

Of many arms that were trained once, the best score is luck in part: what was trained for its score is no judge of it.
By folds most arms have had one of them only; to confirm one is to train it in all folds of another cut.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from milair.study.arms import CONFIRMS, Arm, arms, begun, configuration
from milair.training.paired import Truth, chance_not_worse, spread_over_seeds

LEVEL = 0.05  # below it an arm is worse than the leader, beyond chance
_GOING = (TrialState.WAITING, TrialState.RUNNING)


@dataclass(frozen=True)
class Confirmation:
    """At most `budget` further trainings of the arms of a study."""

    truth: Truth
    budget: int
    level: float = LEVEL

    def next(self, trials: Sequence[FrozenTrial]) -> int | None:
        """The number of the trial to train again; None if one arm stands out, or the budget is spent.

        Of the leader and its closest rival the one with fewer trainings (LUCB, Kalyanakrishnan et al. 2012); those that
        wait or run count as trained. A leader has to be trained twice, whatever its lead."""
        spent = self._spent(trials)
        if len(spent) >= self.budget or not (close := self.rivals(trials)):
            return None
        by_number = {trial.number: trial for trial in trials}  # one that waits does not know its recipe yet
        going = Counter(configuration(by_number[t.user_attrs[CONFIRMS]]) for t in spent if t.state in _GOING)
        trainings = {arm.configuration: _complete(arm) + going[arm.configuration] for arm in close}
        chosen = min(close[:2], key=lambda arm: trainings[arm.configuration])
        if len(close) == 1 and trainings[chosen.configuration] > 1:
            return None
        return chosen.trials[0].number

    def left(self, trials: Sequence[FrozenTrial]) -> int:
        """How many of these trainings may still be to come: those that wait or run, and those to be asked for."""
        ended = sum(trial.state not in _GOING for trial in self._spent(trials))
        return max(0, self.budget - ended)

    @staticmethod
    def _spent(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        confirm = [trial for trial in trials if CONFIRMS in trial.user_attrs and "copied_from" not in trial.user_attrs]
        return [trial for trial in confirm if trial.state != TrialState.FAIL]

    def rivals(self, trials: Sequence[FrozenTrial]) -> list[Arm]:
        """The leader, and the arms that are no worse than it beyond chance, the closest first."""
        whole, some = arms(trials), begun(trials)
        if not whole:
            return some
        frames = {arm.configuration: arm.frames(self.truth) for arm in (*whole, *some)}
        spread = spread_over_seeds([[trial.value or 0.0 for trial in arm.trials] for arm in whole])
        leader, *others = *sorted(whole, key=lambda arm: -arm.score), *some

        def chance(arm: Arm) -> float:
            runs = len(arm.trials), len(leader.trials)
            return chance_not_worse(frames[arm.configuration], frames[leader.configuration], spread, runs)

        chances = {arm.configuration: chance(arm) for arm in others}
        close = [arm for arm in others if chances[arm.configuration] >= self.level]
        return [leader, *sorted(close, key=lambda arm: -chances[arm.configuration])]


def _complete(arm: Arm) -> int:
    return sum(trial.state == TrialState.COMPLETE for trial in arm.trials)
