"""Which trials wait, and in what order: a space's first recipes, trials again, trials of another study."""

from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FixedTrial, FrozenTrial, TrialState

from milair.errors import MilairError
from milair.recipe import Recipe
from milair.space import Space
from milair.study import SAMPLE_TRIALS, TRIALS, artifacts, kept
from milair.study.arms import CONFIRMS
from milair.study.limits import constraints
from milair.study.lock import SEARCH, Hold
from milair.study.objective import PINNED
from milair.study.pruners import first_only
from milair.study.results import finished, recipe_of, stored_settings
from milair.study.samplers import Parameters
from milair.study.session import Session
from milair.study.settings import SAMPLE

_COMPARABLE = ("fingerprint", "views", "split", "training")  # scores of studies that agree in these can be compared
_OWN = ("constraints", artifacts.PREFIX)  # system attributes that are of one study: its limits, its files


def first(space: Space, lacking: Collection[str] = ()) -> list[Parameters]:
    """What the space trains before anything is drawn: its FIRST recipes, or its baseline if it has none.

    Recipes of `lacking` backbones are left out."""
    parameters = []
    for recipe in dict.fromkeys(space.first) or [space.baseline]:
        try:
            parameters.append(dict(space.answers(recipe)))
        except MilairError:
            if not space.only:  # those that were narrowed away are not asked for
                raise
    return [point for point in parameters if point.get("backbone") not in lacking]


def default_goal(session: Session) -> int:
    """How many finished trials a search comes to if nobody says: all that its space trains first, if it has such."""
    if session.space.first:
        return len(first(session.space, session.settings.lacking()))
    return SAMPLE_TRIALS if session.settings.data == SAMPLE else TRIALS


def queue_first(session: Session, lacking: Collection[str] = ()) -> None:
    """Let what the space trains first wait, never pruned, unless it is among the study's trials; references first.

    The baseline trains one fold where others do: whether it may be the best is seen with them."""
    study, space, trials = session.study, session.space, session.study.get_trials(deepcopy=False)
    references = [kept.reference(trial) for trial in trials]
    for recipe in map(session.reference, space.references):
        if recipe.to_json() not in references and recipe.backbone not in lacking:
            _wait(study, {}, {PINNED: True, "note": "reference"}, recipe.to_json())
    known = [trial.params or trial.system_attrs.get("fixed_params") for trial in trials]
    for parameters in first(space, lacking):
        if parameters not in known:
            pinned = bool(space.first) or not first_only(study.pruner)
            _wait(study, parameters, {PINNED: pinned, "note": "first" if space.first else "baseline"})


def queue_again(study: optuna.Study, numbers: Collection[int], times: int, confirms: bool = False) -> None:
    """Let complete trials wait once more, so many times each, never pruned: with the next seeds each time.

    A running search may draw them at once. With `confirms` they do not count as trials of their own. MilairError if one
    is not complete, and none is queued."""
    trials = study.get_trials(deepcopy=False)
    if others := [str(n) for n in numbers if n >= len(trials) or not (_is_complete(trials[n]) or confirms)]:
        raise MilairError(f"{study.study_name} has no complete trial {' and no '.join(others)}")
    for _ in range(times):
        for number in numbers:
            attributes: dict[str, Any] = {PINNED: True, "note": f"trial {number} again"}
            if confirms:  # what was never complete may still be worse than the best
                attributes = {
                    PINNED: _is_complete(trials[number]),
                    "note": f"confirms trial {number}",
                    CONFIRMS: number,
                }
            _wait(study, trials[number].params, attributes, kept.reference(trials[number]))


def _wait(study: optuna.Study, parameters: Parameters, attributes: dict[str, Any], reference: Any = None) -> None:
    """As `enqueue_trial`, which takes no system attribute; `reference`: see `kept.reference`."""
    system = {"fixed_params": dict(parameters)} | ({kept.REFERENCE: reference} if reference else {})
    study.add_trial(optuna.create_trial(state=TrialState.WAITING, user_attrs=attributes, system_attrs=system))


def _is_complete(trial: FrozenTrial) -> bool:
    return trial.state == TrialState.COMPLETE


def begin(session: Session, hold: Hold, old: optuna.Study | None, weights: Callable[[Recipe], str]) -> Iterator[str]:
    """What waits when a search begins: trials of `old`, of searches that died, and the space's first ones.

    Yields what there is to say of it. `weights` as for `take_over`."""
    if old is not None:
        copied, others = take_over(session, old, weights)
        yield "\n         ".join(
            [f"copied   {copied} trials of {old.study_name}; {len(others)} do not fit", *others[:3]]
        )
    if numbers := put_back(hold):
        yield f"back in the queue from a search that died: trial {', '.join(map(str, numbers))}"
    running = hold.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    if numbers := [trial.number for trial in running]:
        yield f"left alone, for another program runs it: trial {', '.join(map(str, numbers))}"
    queue_first(session, session.settings.lacking())


def put_back(hold: Hold, dry_run: bool = False) -> list[int]:
    """Let trials of searches that have died wait again; the numbers of these. Those of other programs stay."""
    numbers = []
    for trial in hold.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.user_attrs.get(SEARCH) or "worker" in trial.user_attrs:  # an older milair signed by its workers
            with suppress(UpdateFinishedTrialError):  # a search that lost its lock may end it just now
                if not dry_run:
                    hold.put_back(trial)
                numbers.append(trial.number)
    return numbers


def take_over(session: Session, old: optuna.Study, weights: Callable[[Recipe], str]) -> tuple[int, list[str]]:
    """Copy the finished trials of another study that the session's could have had. How many, and why others do not fit.

    What this one has already, with the same seed, is not copied: it would count as another seed's.
    `weights` gives the fingerprint of a recipe's weights. MilairError if the studies are of other frames."""
    study, space, settings = session.study, session.space, session.settings
    stored_settings(old).refuse_difference(settings, old.study_name, names=_COMPARABLE, so="none of its trials fit")
    copied, others = 0, []
    seeds, own_seed = "seed" in space.dimensions(), space.baseline.override(settings.overrides).seed
    recipes = {recipe_of(trial) for trial in finished(study)}
    for trial in finished(old):
        if kept.error(trial):
            continue
        attributes = kept.scalars(trial) | {"copied_from": f"{old.study_name} {trial.number}"}
        try:
            recipe = recipe_of(trial)
            if recipe is None or recipe in recipes:
                continue
            asked = recipe if seeds else replace(recipe, seed=own_seed)  # a recipe drawn again has a later one
            fixed = FixedTrial(dict(space.answers(asked, settings.overrides)))
            space(fixed)
            if weights(recipe) != attributes["weights"]:
                raise MilairError(f"the weights of {recipe.backbone} are others now")
            values = {name: attributes[name] for name in settings.limits if attributes.get(name) is not None}
            if unknown := [name for name in settings.limits if name not in values]:
                raise MilairError(f"an older milair trained it and did not keep {unknown[0]}, which has a limit")
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
                user_attrs=attributes,
                system_attrs={n: v for n, v in trial.system_attrs.items() if not n.startswith(_OWN)} | kept.long(trial),
                constraints=constraints(settings.limits, values),
            )
        )
        recipes.add(recipe)
        copied += 1
    return copied, others
