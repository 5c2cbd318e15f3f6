"""The storage of a study that one process writes: what runs is known to it, and what it sets is written together.

Optuna's own storage writes each value in a transaction of its own, and reads all that runs before every draw and every
judgement: with a thousand workers a thousand trials, ten times a trial.
"""

import json
from collections import defaultdict
from copy import copy
from datetime import datetime
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, check_distribution_compatibility, distribution_to_json
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._cached_storage import _CachedStorage, _StudyInfo
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import select

from milair.study import storage

_NAMES: dict[Any, str] = {  # of the values of a trial in each table
    models.TrialParamModel: "param_name",
    models.TrialIntermediateValueModel: "step",
    models.TrialUserAttributeModel: "key",
    models.TrialSystemAttributeModel: "key",
}
_ENDED = [state for state in TrialState if state.is_finished()]


class Writer(_CachedStorage):
    """Of one study. What is set on a running trial waits in memory for `save`, or for the next state of any trial.

    So what a trial has come to is written before its state, as every storage of Optuna promises. Trials that run here
    are nobody else's to write, and are read no more; those of other programs are as they were at the last `refresh`."""

    def __init__(self, study: optuna.Study) -> None:
        super().__init__(storage.of(study))
        self._study_id, self._study = study._study_id, _StudyInfo()
        self._studies[self._study_id] = self._study
        self._mine = set[int]()  # trials that run here
        self._read = -1  # the last trial up to which all are known
        self._unsaved: dict[Any, dict[tuple[int, str | int], dict[str, Any]]] = defaultdict(dict)

    @property
    def waits(self) -> bool:
        """Whether there is something to save."""
        return bool(self._unsaved)

    def refresh(self) -> None:
        """Read what other programs have written: new trials, and what became of those that they run or let wait."""
        theirs = {t._trial_id for t in self._study.trials.values() if not t.state.is_finished()} - self._mine
        trials = self._backend._get_trials(self._study_id, None, theirs, self._read)
        self._add_trials_to_cache(self._study_id, [trial for trial in trials if trial._trial_id not in self._mine])
        self._read = max([self._read, *(trial._trial_id for trial in trials)])

    def save(self) -> None:
        """Write all that waits, in one transaction. UpdateFinishedTrialError if another program has ended a trial, of
        which nothing is written."""
        trial, unsaved, self._unsaved = models.TrialModel, self._unsaved, defaultdict(dict)
        numbers = {number for rows in unsaved.values() for number, _ in rows}
        ended = select(trial.trial_id, trial.number).where(trial.trial_id.in_(numbers), trial.state.in_(_ENDED))
        with self._backend.engine.begin() as connection:
            gone = {row.trial_id: row.number for row in connection.execute(ended)}
            for table, rows in unsaved.items():
                if left := [row for (number, _), row in rows.items() if number not in gone]:
                    storage.put(connection, table, *left)
        if gone:
            raise UpdateFinishedTrialError(f"trial {min(gone.values())} was ended by another program")

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        number = super().create_new_trial(study_id, template_trial)
        trial = next(reversed(self._study.trials.values()))
        if trial.state == TrialState.RUNNING:
            self._mine.add(number)
        if trial.number == len(self._study.trials) - 1:  # no other program's lies between
            self._read = number
        return number

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Any = None) -> bool:
        if self.waits:
            self.save()
        done = super().set_trial_state_values(trial_id, state, values)
        if state.is_finished() and trial_id in self._mine:
            trial = copy(self.get_trial(trial_id))  # its `optuna.Trial` keeps what it ran as
            trial.state, trial.values, trial.datetime_complete = state, values, datetime.now()
        else:
            trial = self._backend.get_trial(trial_id)
        self._mine.discard(trial_id)
        if done and state == TrialState.RUNNING:
            self._mine.add(trial_id)
        self._add_trials_to_cache(self._study_id, [trial])
        return done

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        known = self._study.param_distribution
        if param_name not in known:
            of = (trial.distributions.get(param_name) for trial in self._study.trials.values())
            known[param_name] = next(filter(None, of), distribution)
        check_distribution_compatibility(known[param_name], distribution)
        values = {"param_value": param_value_internal, "distribution_json": distribution_to_json(distribution)}
        trial = self._set(models.TrialParamModel, trial_id, param_name, **values)
        trial.params[param_name] = distribution.to_external_repr(param_value_internal)
        trial.distributions[param_name] = distribution

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        table = models.TrialIntermediateValueModel
        value, kind = table.intermediate_value_to_stored_repr(intermediate_value)
        trial = self._set(table, trial_id, step, intermediate_value=value, intermediate_value_type=kind)
        trial.intermediate_values[step] = intermediate_value

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        trial = self._set(models.TrialUserAttributeModel, trial_id, key, value_json=json.dumps(value))
        trial.user_attrs[key] = value

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        trial = self._set(models.TrialSystemAttributeModel, trial_id, key, value_json=json.dumps(value))
        trial.system_attrs[key] = value

    def _set(self, table: Any, trial_id: int, name: str | int, **values: Any) -> FrozenTrial:
        """Let a row wait. Returns the trial as it is known here."""
        trial = self.get_trial(trial_id)
        self._backend.check_trial_is_updatable(trial_id, trial.state)
        self._unsaved[table][trial_id, name] = {"trial_id": trial_id, _NAMES[table]: name, **values}
        return trial

    def _get_cached_trial(self, trial_id: int) -> FrozenTrial | None:
        if trial_id in self._mine:
            return self._study.trials[self._trial_id_to_study_id_and_number[trial_id][1]]
        return super()._get_cached_trial(trial_id)

    def _read_trials_from_remote_storage(self, study_id: int) -> None:  # noqa: ARG002
        """Before all trials are given: once. Afterwards `refresh` reads."""
        if self._read < 0:
            self.refresh()


def alone(study: optuna.Study) -> optuna.Study:
    """The same study, written by a Writer: this process holds it."""
    view = copy(study)
    view._storage = Writer(study)
    return view


def of(study: optuna.Study) -> Writer:
    """What writes a study that `alone` has given."""
    assert isinstance(study._storage, Writer)
    return study._storage
