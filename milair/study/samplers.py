"""How trials are drawn: samplers by name, and the order in which a search begins."""

import random
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from milair.errors import UsageError
from milair.space import Space
from milair.study.arms import means, seen
from milair.study.results import ranked
from milair.study.storage import experimental

Parameters = dict[str, Any]
STARTUP = 10  # trials that cover the space before TPE models it


class Sampler(BaseSampler):
    """Draws that follow from the seed, the trial's number and the trials before it, whichever process asks.

    So restarts never repeat draws, and one worker repeats a study exactly. A parameter that is drawn by itself follows
    from its name, not from those drawn before: a trial killed between two of them comes out the same. Of trials that
    differ in their seeds only it sees the mean (see arms.py). In place of a choice that is in `without`,
    {"backbone": ["vgg16"]}, it draws another: one of the others, or of those that the better trials have. (To draw
    again would never end: TPE likes best what it has never seen.)"""

    def __init__(self, kind: str, seed: int, without: Mapping[str, Collection[Any]] | None = None) -> None:
        self.kind, self.seed, self.without = kind, seed, without or {}
        self.inner: BaseSampler = RandomSampler(seed)

    def _seeded(self, number: int, name: str = "") -> BaseSampler:
        words = [self.seed, number, *name.encode()]
        mixed = int(np.random.SeedSequence(words).generate_state(1)[0])
        return _tpe(mixed) if self.kind == "tpe" else RandomSampler(mixed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self.inner, self.view = self._seeded(trial.number), seen(study, means)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:  # noqa: ARG002
        return self.inner.infer_relative_search_space(self.view, trial)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        drawn = self.inner.sample_relative(self.view, trial, search_space)
        return {name: self._allowed(study, trial, name, value, search_space[name]) for name, value in drawn.items()}

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: Any) -> Any:
        drawn = self._seeded(trial.number, name).sample_independent(self.view, trial, name, distribution)
        return self._allowed(study, trial, name, drawn, distribution)

    def _allowed(self, study: optuna.Study, trial: FrozenTrial, name: str, drawn: Any, distribution: Any) -> Any:
        if allowed({name: drawn}, self.without):
            return drawn
        ranking = ranked(study)
        better = [arm.trials[0].params.get(name) for arm in ranking[: len(ranking) // 4]]
        choices = distribution.choices
        return random.Random(f"{self.seed} {trial.number} {name}").choice(
            [value for value in (*choices, *better) if value in choices and allowed({name: value}, self.without)]
        )

    def after_trial(self, *given: Any) -> None:
        self.inner.after_trial(*given)


def allowed(parameters: Mapping[str, Any], without: Mapping[str, Collection[Any]]) -> bool:
    """Whether none of the parameters has a value that is to be left out."""
    return all(value not in without.get(name, ()) for name, value in parameters.items())


def _tpe(seed: int) -> TPESampler:
    with experimental():
        return TPESampler(
            n_startup_trials=STARTUP,
            n_ei_candidates=24,
            multivariate=True,
            group=True,  # or the parameters of either head type would be drawn independently
            constant_liar=True,
            seed=seed,
        )


def shuffled(
    space: Space, seed: int, without: Mapping[str, Collection[Any]], grid: bool = False
) -> list[Parameters] | None:
    """All configurations that can be drawn, in an order that the seed shuffles; None if they are without end, or nearly
    so. A grid draws them one by one, and TPE begins with some of them: drawn at random, they would repeat.

    UsageError where a grid would have no end."""
    configurations = space.configurations()
    if grid and configurations is None:
        raise UsageError(f"--sampler grid: the space {space.name} is too large, or without end")
    if configurations is not None:
        configurations = [parameters for parameters in configurations if allowed(parameters, without)]
        random.Random(seed).shuffle(configurations)
    return configurations
