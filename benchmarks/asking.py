"""What a draw costs in a study of many trials: milair's, against bare Optuna with the same sampler.

    .venv/bin/python benchmarks/asking.py --trials 10 1000 10000

A draw is all that a search does before a trial trains: the sampler, the space, the seed that is free, the weights that
others had. Both studies are in memory and hold the same complete trials of `beyond`. In turns; the quickest of each
counts.
"""

from argparse import ArgumentParser
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from milair import space as spaces
from milair.recipe import Recipe
from milair.study.arms import ARM, arm_of
from milair.study.objective import Objective
from milair.study.samplers import Sampler, _tpe

SPACE = spaces.load("beyond", Path(__file__).parent.parent / "search_spaces")


class Session:
    """As much of one as a draw asks for."""

    space = SPACE

    def recipe(self, recipe: Recipe) -> Recipe:
        return recipe


def trials(count: int) -> list[FrozenTrial]:
    study, random = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1)), np.random.default_rng(0)
    rows = []
    for _ in range(count):
        trial = study.ask()
        recipe = SPACE(cast(Any, trial))
        kept = {"recipe": recipe.to_json(), "weights": "-", ARM: arm_of(recipe)}
        rows.append(
            optuna.trial.create_trial(
                state=TrialState.COMPLETE,
                value=float(random.uniform(0.6, 0.9)),
                params=trial.params,
                distributions=trial.distributions,
                user_attrs=kept,
            )
        )
    return rows


def seconds(count: int, turns: int) -> tuple[float, float]:
    """Of a draw of bare Optuna, and of milair's."""
    bare, ours = (optuna.create_study(sampler=sampler) for sampler in (_tpe(3), Sampler("tpe", 3)))
    for study in (bare, ours):
        study.add_trials(trials(count))
    objective = Objective(cast(Any, Session()))
    times: tuple[list[float], list[float]] = [], []
    for _ in range(turns):
        for study, spent in zip((bare, ours), times, strict=True):
            start = perf_counter()
            trial = study.ask()
            if study is bare:
                SPACE(cast(Any, trial))
            else:
                recipe = objective.prepare(trial)
                objective._refuse_other_weights(trial, recipe, "-")
            spent.append(perf_counter() - start)
            study.tell(trial, 0.7)
    return min(times[0]), min(times[1])


def main() -> None:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, nargs="+", default=[10, 1000, 10000])
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for count in options.trials:
        bare, ours = seconds(count, options.turns)
        print(f"{count:>6} trials: Optuna {bare * 1e3:.1f} ms, milair {ours * 1e3:.1f} ms, {ours / bare:.2f} x")


if __name__ == "__main__":
    main()
