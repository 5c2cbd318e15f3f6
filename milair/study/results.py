"""What a study holds: its settings, its state, and its trials in the order that a reader wants."""

import optuna
from optuna.trial import FrozenTrial, TrialState

from milair.errors import MilairError
from milair.recipe import Recipe
from milair.study import kept, lock
from milair.study.arms import CONFIRMS, FOLDS, Arm, arms, is_begun
from milair.study.limits import shown, within
from milair.study.settings import Settings

SETTINGS = "milair"  # the study attribute that holds its Settings
GOAL = "goal"  # and the one that holds how many finished trials were asked for last
EXHAUSTED = "exhausted"  # and whether nothing is left to draw
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)


def stored_settings(study: optuna.Study) -> Settings:
    """MilairError if milair did not make the study, or an incompatible version did."""
    values = study.user_attrs.get(SETTINGS)
    if values is None:
        raise MilairError(f"study {study.study_name} was not made by milair: it has no settings stored with it")
    try:
        return Settings.from_json(values)
    except MilairError as error:
        raise MilairError(f"study {study.study_name}: {error}; --name NAME starts another study") from None


def recipe_of(trial: FrozenTrial) -> Recipe | None:
    """What a trial trains; None if it is not known yet. A field that the recipes of its day had not is its default."""
    stored = kept.recipe(trial)
    return None if stored is None else Recipe.from_json(stored)


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Complete and pruned trials, in their order."""
    return study.get_trials(deepcopy=False, states=FINISHED)


def counted(study: optuna.Study) -> list[FrozenTrial]:
    """Finished trials that count as such: all but those that confirm others."""
    return [trial for trial in finished(study) if CONFIRMS not in trial.user_attrs]


def is_through(study: optuna.Study, goal: int, confirm: int | None) -> bool:
    """Whether a search has nothing left to train, as its trials alone say; `confirm` is that of `api.search`."""
    trials = counted(study)
    confirms = any(FOLDS in trial.user_attrs for trial in trials) if confirm is None else confirm
    return len(trials) >= goal and not confirms


def ranked(study: optuna.Study) -> list[Arm]:
    """The arms whose models are over no limit, the best first."""
    return arms(trial for trial in study.get_trials(deepcopy=False) if within(trial))


def why_none(study: optuna.Study) -> str:
    """What to say where `ranked` is empty: with limits, how near to them the study has come."""
    limits, lowest = study.user_attrs.get(SETTINGS, {}).get("limits", {}), dict[str, float]()
    for name, limit in limits.items():
        trials = study.get_trials(deepcopy=False)
        if shares := [trial.constraints[name] for trial in trials if name in trial.constraints]:
            lowest[name] = limit * (1 + min(shares))
    if not limits and any(map(is_begun, study.get_trials(deepcopy=False))):
        return (
            f"study {study.study_name} has trials of one fold only; python -m milair.studies confirm "
            f"{study.study_name} trains what may be the best in all"
        )
    if not lowest:
        return f"study {study.study_name} has no complete trial yet; a search makes some"
    return (
        f"study {study.study_name} has no complete trial within its limits ({shown(limits)}); "
        f"the lowest of its models are {shown(lowest)}"
    )


def pick(study: optuna.Study, number: int | None = None, top: int = 1) -> list[FrozenTrial]:
    """The first trials of the `top` best arms, or the one of that number. MilairError if it was never scored."""
    trials = study.get_trials(deepcopy=False)
    if number is None:
        if not (best := [arm.trials[0] for arm in ranked(study)[:top]]):
            raise MilairError(why_none(study))
        return best
    if number >= len(trials):
        raise MilairError(f"--trial {number}: study {study.study_name} has trials 0 to {len(trials) - 1}")
    trial = trials[number]
    if trial.value is None or "epoch" not in trial.user_attrs:
        state = trial.state.name.lower()
        raise MilairError(f"--trial {number}: that trial is {state} and was never trained to a score")
    return [trial]


def state(study: optuna.Study) -> str:
    """ "running", "finished" (it has the trials that were asked for, or nothing is left to draw) or "interrupted".

    "unknown" if it is not running and milair did not make it."""
    if lock.is_held(study):
        return "running"
    if SETTINGS not in study.user_attrs and GOAL not in study.user_attrs:
        return "unknown"
    goal, trials = study.user_attrs.get(GOAL), study.get_trials(deepcopy=False)
    if any(CONFIRMS in trial.user_attrs and not trial.state.is_finished() for trial in trials):
        return "interrupted"
    done = goal is not None and len(counted(study)) >= goal
    return "finished" if done or study.user_attrs.get(EXHAUSTED) else "interrupted"


def finite(value: float) -> float | None:
    """JSON knows no NaN, and a browser that shows the study trips over one."""
    return value if value - value == 0 else None
