"""A study: a plain Optuna study that any Optuna tool can open, with its settings, its sampler and its pruner."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import optuna
from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from milair.errors import MilairError
from milair.recipe import Recipe
from milair.space import Space
from milair.study import queue, storage
from milair.study.queue import FINISHED, Parameters
from milair.study.session import Settings

SETTINGS = "milair"  # the study attribute that holds its Settings
GOAL = "goal"  # and the one that holds how many finished trials were asked for last
SEARCH = "search"  # and who searches it just now
EXHAUSTED = "exhausted"  # and whether nothing is left to draw
_COMPARABLE = ("fingerprint", "views", "split", "training")  # scores of studies that agree in these can be compared


def settings_of(database: RDBStorage, name: str) -> Settings | None:
    """The settings of the study of that name; None if there is none, or if it was killed while it was being made."""
    if name not in optuna.get_all_study_names(database):
        return None
    study = optuna.load_study(study_name=name, storage=database)
    return stored_settings(study) if SETTINGS in study.user_attrs or study.get_trials(deepcopy=False) else None


def stored_settings(study: optuna.Study) -> Settings:
    values = study.user_attrs.get(SETTINGS)
    if values is None:
        raise MilairError(f"study {study.study_name} was not made by milair: it has no settings stored with it")
    try:
        return Settings.from_json(values)
    except MilairError as error:
        raise MilairError(f"study {study.study_name}: {error}; --name NAME starts another study") from None


def open_or_create(database: RDBStorage, name: str, settings: Settings) -> optuna.Study:
    """The study of that name with these settings. MilairError if it has others."""
    study = optuna.create_study(study_name=name, storage=database, direction="maximize", load_if_exists=True)
    with storage.alone(study):
        if (stored := settings_of(database, name)) is not None:
            stored.refuse_difference(settings, name)
        if stored != settings:  # new, or its data or weights have moved
            study.set_user_attr(SETTINGS, settings.to_json())
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.set_metric_names(["score"])  # or the dashboard calls it "Objective 0"
    return study


def queue_pinned(study: optuna.Study, space: Space, lacking: Collection[str] = ()) -> int:
    """The space's first recipes, else its baseline, wait in the queue, unless they are among the study's trials.

    Recipes of `lacking` backbones are left out. Returns how many are among the study's trials now."""
    from milair.study.objective import PINNED

    pinned = [parameters for parameters in published(space) if parameters.get("backbone") not in lacking]
    with storage.alone(study):
        trials = study.get_trials(deepcopy=False)
        known = [trial.params or trial.system_attrs.get("fixed_params") for trial in trials]
        for parameters in pinned:
            if parameters not in known:
                note = "first" if space.first else "baseline"
                study.enqueue_trial(parameters, user_attrs={PINNED: True, "note": note})
    return len(pinned)


def queue_again(study: optuna.Study, numbers: Collection[int], times: int) -> None:
    """Complete trials wait in the queue once more, so many times each, never pruned: with the next seeds each time.

    MilairError if one is not complete, and none is queued."""
    from milair.study.objective import PINNED

    complete = {trial.number: trial for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))}
    if others := [str(number) for number in numbers if number not in complete]:
        raise MilairError(f"{study.study_name} has no complete trial {' and no '.join(others)}")
    for _ in range(times):
        for number in numbers:
            attributes = {PINNED: True, "note": f"trial {number} again"}
            study.enqueue_trial(complete[number].params, user_attrs=attributes)


def published(space: Space) -> list[Parameters]:
    """What the space trains before anything is drawn: its first recipes, or its baseline if it has none."""
    found = []
    for recipe in space.first or [space.baseline]:
        try:
            found.append(dict(space.answers(recipe)))
        except MilairError:
            if not space.only:  # those that were narrowed away are not asked for
                raise
    return found


def take_over(
    study: optuna.Study, old: optuna.Study, space: Space, settings: Settings, weights: Callable[[Recipe], str]
) -> tuple[int, list[str]]:
    """Copy the finished trials of another study that this one could have had. How many, and why others do not fit.

    What this one has already, with the same seed, is not copied: it would count as another seed's.
    `weights` gives the fingerprint of a recipe's weights. MilairError if the studies learn from other frames."""
    stored_settings(old).refuse_difference(settings, old.study_name, _COMPARABLE, "none of its trials fit")
    taken, others = 0, []
    seeds, first = "seed" in space.dimensions(), space.baseline.override(settings.overrides).seed
    with storage.alone(study):
        had = [trial.user_attrs.get("recipe") for trial in finished(study)]
        for trial in finished(old):
            kept = trial.user_attrs | {"copied_from": {"study": old.study_name, "trial": trial.number}}
            if kept.get("error") or "recipe" not in kept or kept["recipe"] in had:
                continue
            try:
                recipe = Recipe.from_json(kept["recipe"])
                asked = recipe if seeds else replace(recipe, seed=first)  # a recipe drawn again has a later one
                fixed = FixedTrial(dict(space.answers(asked, settings.overrides)))
                space(fixed)
                if weights(recipe) != kept["weights"]:
                    raise MilairError(f"the weights of {recipe.backbone} are others now")
            except MilairError as error:
                others.append(f"trial {trial.number}: {error}")
                continue
            study.add_trial(
                optuna.create_trial(
                    state=trial.state,
                    value=trial.value,
                    params=fixed.params,
                    distributions=fixed.distributions,
                    intermediate_values=trial.intermediate_values,
                    user_attrs=kept,
                )
            )
            had.append(kept["recipe"])
            taken += 1
    return taken, others


class Sampler(BaseSampler):
    """Draws that follow from the seed, the trial's number and the trials before it, whichever worker asks.

    So workers and restarts never repeat each other's draws, and one worker repeats a study exactly. In place of a
    choice that is in `without`, {"backbone": ["vgg16"]}, it draws another: one of the others, or of those that the
    better trials have. (To draw again would never end: TPE likes best what it has never seen.)"""

    def __init__(self, kind: str, seed: int, without: Mapping[str, Collection[Any]] | None = None) -> None:
        self.kind, self.seed, self.without = kind, seed, without or {}
        self.inner: BaseSampler = RandomSampler(seed)
        self.random = random.Random(seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:  # noqa: ARG002
        mixed = int(np.random.SeedSequence([self.seed, trial.number]).generate_state(1)[0])
        self.inner, self.random = _tpe(mixed) if self.kind == "tpe" else RandomSampler(mixed), random.Random(mixed)

    def infer_relative_search_space(self, *given: Any) -> dict[str, Any]:
        return self.inner.infer_relative_search_space(*given)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        drawn = self.inner.sample_relative(study, trial, search_space)
        return {name: self._allowed(study, name, value, search_space[name]) for name, value in drawn.items()}

    def sample_independent(self, study: optuna.Study, trial: FrozenTrial, name: str, distribution: Any) -> Any:
        drawn = self.inner.sample_independent(study, trial, name, distribution)
        return self._allowed(study, name, drawn, distribution)

    def _allowed(self, study: optuna.Study, name: str, drawn: Any, distribution: Any) -> Any:
        if allowed({name: drawn}, self.without):
            return drawn
        best = ranked(study)
        better = [trial.params.get(name) for trial in best[: len(best) // 4]]
        choices = distribution.choices
        return self.random.choice(
            [value for value in (*choices, *better) if value in choices and allowed({name: value}, self.without)]
        )

    def after_trial(self, *given: Any) -> None:
        self.inner.after_trial(*given)


def allowed(parameters: Mapping[str, Any], without: Mapping[str, Collection[Any]]) -> bool:
    """Whether none of the parameters has a value that is to be left out."""
    return all(value not in without.get(name, ()) for name, value in parameters.items())


def _tpe(seed: int) -> TPESampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(
            n_startup_trials=10,
            n_ei_candidates=24,
            multivariate=True,
            group=True,  # or the parameters of either head type would be drawn independently
            constant_liar=True,
            seed=seed,
        )


def configurations(space: Space, without: Mapping[str, Collection[Any]]) -> list[Parameters] | None:
    """All that can be drawn from a space; None if that is without end, or nearly so."""
    found = space.configurations()
    return None if found is None else [parameters for parameters in found if allowed(parameters, without)]


def grid(configurations: list[Parameters], seed: int) -> Callable[[list[Parameters]], Parameters]:
    """Each configuration once, in an order that the seed shuffles."""
    order = list(configurations)
    random.Random(seed).shuffle(order)

    def next_point(drawn: list[Parameters]) -> Parameters:
        return next((point for point in order if point not in drawn), {})

    return next_point


def pruner(kind: str, passes: int) -> BasePruner:
    """A pruner in steps of passes over the data, for trainings of so many at most."""
    from milair.study.objective import RUNG

    warm_up = max(passes // 20, RUNG)  # the document's 200 epochs of six views: the first ten are safe
    if kind == "none":
        return NopPruner()
    if kind == "asha":
        return SuccessiveHalvingPruner(min_resource=warm_up, reduction_factor=3)
    if kind == "hyperband":
        return HyperbandPruner(min_resource=warm_up, max_resource=max(passes, warm_up), reduction_factor=3)
    return MedianPruner(n_startup_trials=4, n_warmup_steps=warm_up, interval_steps=1)


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Complete and pruned trials, in their order."""
    return study.get_trials(deepcopy=False, states=FINISHED)


def ranked(study: optuna.Study) -> list[FrozenTrial]:
    """Complete trials that milair trained, the best score first."""
    complete = [
        trial for trial in finished(study) if trial.state == TrialState.COMPLETE and "recipe" in trial.user_attrs
    ]
    return sorted(complete, key=lambda trial: (-(trial.value or 0), trial.number))


@contextmanager
def searched(study: optuna.Study) -> Iterator[None]:
    """A block in which a study is running, also while none of its trials is."""
    study.set_user_attr(SEARCH, queue.worker())
    try:
        yield
    finally:
        if study.user_attrs.get(SEARCH) == queue.worker():
            study.set_user_attr(SEARCH, None)


def state(study: optuna.Study) -> str:
    """ "running", "finished" (it has the trials that were asked for, or nothing is left to draw) or "interrupted".

    "unknown" if it is not running and milair did not make it."""
    search = study.user_attrs.get(SEARCH)
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    if len(running) > len(queue.left_behind(study)) or (search and queue.lives(search)):
        return "running"
    if SETTINGS not in study.user_attrs and GOAL not in study.user_attrs:
        return "unknown"
    asked = study.user_attrs.get(GOAL)
    done = asked is not None and len(finished(study)) >= asked
    return "finished" if done or study.user_attrs.get(EXHAUSTED) else "interrupted"


def duration(seconds: float) -> str:
    """Seconds for people: 8 s, 3 min, 2.5 h."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
