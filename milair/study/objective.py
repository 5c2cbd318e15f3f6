"""One trial as an objective: asks its space, watches its training, reports, prunes, and keeps what came of it.

study.optimize(objective("heads", data="my/frames"), n_trials=20)
"""

import math
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from itertools import count
from threading import Lock
from typing import Any

import optuna
from optuna.study import StudyDirection
from optuna.trial import BaseTrial

from milair.errors import MilairError
from milair.recipe import Recipe
from milair.study import kept
from milair.study.arms import ARM, CONFIRMS, FOLDS, arm_of, configuration
from milair.study.limits import constraints, shown, within
from milair.study.pruners import first_only, step
from milair.study.results import finite
from milair.study.session import Session
from milair.training.folds import Folds
from milair.training.values import Epoch, Hopeless, News, Opened, Training

PINNED = "pinned"  # attribute of trials that are never pruned: the baseline, what a space trains first

_SEED = Recipe().seed
Steps = Generator[Training, News | None, float]


@dataclass(frozen=True)
class Objective:
    """objective(trial) -> score, from 0 to 1: (mean IoU + accuracy) / 2 at the epoch that counts, `Epoch.best`."""

    session: Session
    trainer: Any = None  # of training/in_process.py; a search has workers for that
    _busy: Lock = field(default_factory=Lock, repr=False)

    def __call__(self, trial: BaseTrial) -> float:
        """Train here. MilairError under a study that minimizes, or that runs several trials at once."""
        study = getattr(trial, "study", None)
        if study is not None and study.directions != [StudyDirection.MAXIMIZE]:
            raise MilairError("milair's score is to be maximized: create_study(direction='maximize')")
        if not self._busy.acquire(blocking=False):
            raise MilairError("one objective trains one trial at a time: study.optimize(…, n_jobs=1)")
        try:
            steps = self.steps(trial)
            training = next(steps)
            while True:
                for news in self.trainer.train(training):
                    steps.send(news)
                training = steps.send(None)
        except StopIteration as end:
            return float(end.value)
        except Hopeless as error:
            kept.keep(trial, error=str(error))
            raise optuna.TrialPruned(str(error)) from None
        finally:
            self._busy.release()

    def steps(self, trial: BaseTrial) -> Steps:
        """The trial step by step: yields what to train, is sent what that training tells, and None at its end.

        So for each fold. Returns the score. Raises TrialPruned or Hopeless as soon as the trial comes to that."""
        recipe = self.prepare(trial)
        if "parameters" in self.session.settings.limits:
            from milair.model import heads  # torch, which a search does without

            self._limit(trial, parameters=heads.size(recipe, len(self.session.frames.classes)).total)
        folds, splits = Folds(recipe), self.session.splits(recipe.seed)
        before = max(_reported(trial), default=0)  # an interrupted run may not have been judged at that step
        end: Exception | None = None
        for split in splits:
            training, epochs = Training(recipe, split), folds.begin(split)
            news = yield training
            assert isinstance(news, Opened)
            if split is splits[0]:
                opened = news
                self._opened(trial, recipe, opened)
            while end is None and isinstance(news := (yield training), Epoch):
                epochs.append(news)
                end = self._diverged(news) or (
                    self._judge(trial, recipe, epochs, before) if split is splits[0] else None
                )
            if len(splits) > 1:
                if end is None:
                    end = self._judge_fold(trial, folds, before, len(splits))
                elif len(folds.epochs) > 1:
                    folds.drop()
            if end is not None:
                break
        for name, value in self._attributes(opened, folds).items():
            trial.set_user_attr(name, value)
        kept.keep(trial, outputs=self._outputs(folds), curves=self._curves(folds))
        if end is not None:
            raise end
        return folds.metrics.score

    def prepare(self, trial: BaseTrial) -> Recipe:
        """What the trial trains, noted on it: a recipe that another trial has already gets the next seed."""
        reference = kept.reference(trial)
        asked = self.session.recipe(Recipe.from_json(reference) if reference else self.session.space(trial))
        mine = arm_of(asked)
        same = (kept.recipe(other) for other in _others(trial) if configuration(other) == mine)
        used = {trained.get("seed", _SEED) for trained in same if trained}
        recipe = replace(asked, seed=next(seed for seed in count(asked.seed) if seed not in used))
        kept.keep(trial, recipe=recipe.to_json())
        trial.set_user_attr(ARM, mine)
        if recipe != asked and "note" not in trial.user_attrs:
            trial.set_user_attr("note", f"drawn again: seed {recipe.seed}")
        return recipe

    def folds(self, trial: optuna.Trial, recipe: Recipe) -> int:
        """In how many folds a trial is trained, if nothing prunes it."""
        whole = trial.user_attrs.get(PINNED) or CONFIRMS in trial.user_attrs or not first_only(trial.study.pruner)
        return len(self.session.splits(recipe.seed)) if whole else 1

    def _opened(self, trial: BaseTrial, recipe: Recipe, opened: Opened) -> None:
        self._refuse_other_weights(trial, recipe, opened.weights)
        trial.set_user_attr("weights", opened.weights)
        trial.set_user_attr("ms", opened.ms)
        self._limit(trial, ms=opened.ms)

    def _judge(self, trial: BaseTrial, recipe: Recipe, epochs: list[Epoch], before: int) -> Exception | None:
        """Report at a rung; what ends the trial, if anything does. Steps reported before an interruption stand."""
        epoch = epochs[-1]
        rung = step(recipe, epoch.number)
        if rung == step(recipe, epoch.number - 1):
            return None
        through = recipe.scheduled and epoch.number == recipe.all_epochs  # nothing is left to save
        return self._report(trial, epoch.score, rung, before, through, f"after {epoch.passes} passes")

    def _judge_fold(self, trial: BaseTrial, folds: Folds, before: int, count: int) -> Exception | None:
        """Report when a fold has ended, by all frames so far; what ends the trial, if anything does."""
        ended = len(folds.epochs)
        kept.keep(trial, outputs=self._outputs(folds))  # for pruners, which compare frame by frame
        trial.set_user_attr(FOLDS, ended)
        after, when = step(folds.recipe, folds.recipe.all_epochs) + ended, f"after {ended} of {count} folds"
        return self._report(trial, folds.metrics.score, after, before, ended == count, when)

    def _report(
        self, trial: BaseTrial, score: float, step: int, before: int, through: bool, when: str
    ) -> Exception | None:
        if step > before:
            trial.report(score, step)
        if step >= before and not through and not trial.user_attrs.get(PINNED) and trial.should_prune():
            return optuna.TrialPruned(f"loses to others {when}")
        return None

    @staticmethod
    def _diverged(epoch: Epoch) -> Exception | None:
        if math.isfinite(epoch.train.loss) and math.isfinite(epoch.val.loss):
            return None
        return Hopeless(f"diverged: its loss is not a number from epoch {epoch.number} on")

    def _outputs(self, folds: Folds) -> list[list[float | None]]:
        """For each validation frame of the session; none where its fold is still to come."""
        rows = folds.outputs
        each = (rows.get(frame.path, []) for frame in self.session.validation)
        return [[finite(value) for value in row] for row in each]

    def _limit(self, trial: BaseTrial, **values: float) -> None:
        """Hold values against the study's limits: Hopeless if one is over, unless the trial is pinned.

        What an interrupted run of the trial has come to stands."""
        limits = self.session.settings.limits
        for name, over in constraints(limits, values).items():
            if name not in trial.constraints:
                trial.set_constraint(name, over)
            if not within(trial) and not trial.user_attrs.get(PINNED):
                raise Hopeless(f"not trained: over the limit {shown({name: limits[name]})}")

    def _attributes(self, opened: Opened, folds: Folds) -> dict[str, Any]:
        """The scalars that are kept with a trial."""
        epochs, size = [epoch for fold in folds.epochs for epoch in fold], opened.parameters
        return {
            **{name: finite(value) for name, value in folds.metrics.to_json().items()},
            "epoch": folds.number,
            "epochs": max(map(len, folds.epochs)),
            "seconds": round(sum(epoch.seconds for epoch in epochs), 3),
            **{"parameters": size["total"], "trained": size["trainable"], "size_MB": size["MB"]},
            **{"device": opened.device, "threads": opened.threads},
            **dict(zip(("ram_MB", "vram_MB"), epochs[-1].memory, strict=True)),
        }

    @staticmethod
    def _curves(folds: Folds) -> kept.Curves:
        rows = {part: [metrics.to_json() for metrics in row] for part, row in folds.curves.items()}
        return {part: {name: [finite(row[name]) for row in of] for name in of[0]} for part, of in rows.items()}

    @staticmethod
    def _refuse_other_weights(trial: BaseTrial, recipe: Recipe, weights: str) -> None:
        """MilairError if another trial used other weights for the same backbone: their scores cannot be compared."""
        for other in _others(trial):
            if other.user_attrs.get("weights", weights) == weights:
                continue
            theirs = kept.recipe(other) or {}
            if all(theirs.get(name) == getattr(recipe, name) for name in ("backbone", "weights")):
                raise MilairError(
                    f"the weights of {recipe.backbone} are not those of trial {other.number} "
                    f"({weights}, then {other.user_attrs['weights']}); --name NAME starts another study"
                )


def _others(trial: BaseTrial) -> list[optuna.trial.FrozenTrial]:
    """The other trials of the study; none where there is no study, as under FixedTrial."""
    study = getattr(trial, "study", None)
    trials = [] if study is None else list(study.get_trials(deepcopy=False))
    return trials[: trial.number] + trials[trial.number + 1 :]


def _reported(trial: BaseTrial) -> list[int]:
    """Steps that an interrupted run of this very trial has reported already."""
    study = getattr(trial, "study", None)
    return [] if study is None else list(study.get_trials(deepcopy=False)[trial.number].intermediate_values)
