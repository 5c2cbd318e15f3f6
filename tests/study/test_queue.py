"""The loop of a search, with workers that answer at once: exact totals, and every trial that cannot be finished."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from itertools import cycle
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from milair.errors import MilairError, OutsideError
from milair.frames.frame import Split
from milair.recipe import Recipe
from milair.study import kept, lock, queue, storage, writing
from milair.study.confirming import Confirmation
from milair.study.samplers import Sampler
from milair.study.searching import Plan, Search
from milair.training.paired import Truth
from milair.training.values import Died, Ended, Opened, Told, Training

TRUTH = Truth(np.zeros((0, 4)), np.zeros(0, int))
Score = Callable[[optuna.Trial], float]


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return optuna.create_study(direction="maximize", storage=storage.open_storage(storage.default_url(tmp_path)))


class Pool:
    """Workers that tell at once what `answer` has to say about their next training."""

    def __init__(self, answer: Callable[[], Told] = Ended, names: tuple[str, ...] = ("one",)) -> None:
        self.answer, self.names, self.news = answer, names, deque[tuple[str, Told]]()
        self.training: set[str] = set()
        self.inbox = SimpleQueue[Any]()  # nobody tells anything meanwhile

    def train(self, name: str, training: Training) -> None:  # noqa: ARG002
        assert name not in self.training
        self.training.add(name)
        self.news.append((name, self.answer()))

    def stop(self, name: str) -> None:
        """None is in the middle of anything."""

    def listen(self) -> Iterator[tuple[str, Told]]:
        while True:
            name, told = self.news.popleft()
            self.training.discard(name)
            yield name, told


class Lines:
    """What a search says."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str = "") -> None:
        self.lines.append(text)

    note = advance = trial = lambda *_: None


def run(
    study: optuna.Study, score: Score, goal: int = 1, pool: Pool | None = None, objective_steps: Any = None
) -> tuple[str, list[str]]:
    """A search whose trials are scored by a function, or go by steps: what ended it, and what it said."""

    def steps(trial: optuna.Trial) -> Generator[Training, Any, float]:
        yield Training(Recipe(), Split((), ()))
        return score(trial)

    objective: Any = SimpleNamespace(steps=objective_steps or steps, session=SimpleNamespace(hold_labels=lambda: None))
    listener: Any = Lines()
    with lock.held(study) as hold, lock.signed(hold):
        queue.put_back(hold)
        return Search(
            hold, objective, pool or Pool(), Plan(goal, Confirmation(TRUTH, 0)), listener
        ).run(), listener.lines


def x(trial: optuna.Trial) -> float:
    return float(trial.suggest_int("x", 0, 9))


def test_a_failure_keeps_its_reason(study: optuna.Study) -> None:
    def score(trial: optuna.Trial) -> float:
        if trial.number < 2:
            raise ValueError("no luck\nand more")
        return float("nan") if trial.number == 3 else 0.5

    assert run(study, score, 2)[0] == "goal"
    assert [trial.state.name for trial in study.trials] == ["FAIL"] * 2 + ["COMPLETE", "FAIL", "COMPLETE"]
    reasons = [kept.error(trial) for trial in study.trials]
    assert reasons == ["ValueError: no luck"] * 2 + ["", "ArithmeticError: its score is not a number", ""]


def interrupt(*_: object) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize("moment", ["in its space", "in its training", "as it is drawn"])
def test_an_interrupted_trial_goes_back_to_the_queue_as_it_was(
    study: optuna.Study, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.enqueue_trial({"x": 3})
    with monkeypatch.context() as patch:
        if moment == "as it is drawn":  # it runs already
            patch.setattr(optuna, "Trial", interrupt)
        with pytest.raises(KeyboardInterrupt):
            run(study, interrupt if moment == "in its space" else x, pool=Pool(interrupt))
    assert [(trial.number, trial.state) for trial in study.trials] == [(0, TrialState.WAITING)]
    run(study, x)
    assert [(trial.number, trial.value) for trial in study.trials] == [(0, 3.0)]


def test_a_search_that_has_lost_its_study_tells_nothing(study: optuna.Study) -> None:
    """As when somebody deletes its lock's file, and begins another search."""

    def lost(trial: optuna.Trial) -> float:
        study.set_user_attr(lock.SEARCH, {"id": "another"})
        return x(trial)

    with pytest.raises(OutsideError, match="is held by another search now"):
        run(study, lost)
    assert [trial.state for trial in study.trials] == [TrialState.RUNNING]
    assert study.user_attrs[lock.SEARCH] == {"id": "another"}
    run(study, x)
    assert [(trial.number, trial.state.name) for trial in study.trials] == [(0, "COMPLETE")]


def test_a_search_whose_study_is_deleted_says_so(study: optuna.Study) -> None:
    def delete(_: optuna.Trial) -> float:
        optuna.delete_study(study_name=study.study_name, storage=study._storage)
        return 0.5

    with pytest.raises(OutsideError, match="was deleted"):
        run(study, delete)


def test_what_another_program_runs_is_left_alone(study: optuna.Study) -> None:
    theirs = study.ask()
    run(study, x, 2)
    assert [trial.state.name for trial in study.trials] == ["RUNNING", "COMPLETE", "COMPLETE"]
    study.tell(theirs, 0.5)


def test_a_trial_that_another_program_took_first_is_its_own(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.enqueue_trial({"x": 3})
    study.enqueue_trial({"x": 4})
    sign, theirs = RDBStorage.set_trial_user_attr, list[optuna.Trial]()

    def faster(self: Any, number: int, name: str, value: Any) -> None:
        if not theirs:
            theirs.append(study.ask())
        sign(self, number, name, value)

    monkeypatch.setattr(RDBStorage, "set_trial_user_attr", faster)
    run(study, x)
    assert [(trial.state.name, trial.value) for trial in study.trials] == [("RUNNING", None), ("COMPLETE", 4.0)]
    run(study, x, 2)  # whose start puts back what searches left
    assert study.trials[0].state == TrialState.RUNNING


def test_what_is_queued_as_a_trial_is_drawn_waits_for_its_turn(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must not run in the place of the trial that is drawn: nobody would put it back after a kill."""
    create = optuna.create_trial

    def late(**given: Any) -> Any:
        monkeypatch.setattr(optuna, "create_trial", create)
        study.enqueue_trial({"x": 3})
        return create(**given)

    monkeypatch.setattr(optuna, "create_trial", late)
    run(study, x, 2)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE"]
    assert all(trial.user_attrs[lock.SEARCH] for trial in study.trials)


def test_a_trial_with_which_three_workers_die_has_failed(study: optuna.Study) -> None:
    study.enqueue_trial({"x": 3})
    answers = iter([Died("first")] * 3)
    assert run(study, x, 1, Pool(lambda: next(answers, Ended()))) == ("goal", ["first"] * 3)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE"]
    assert kept.error(study.trials[0]) == "3 workers died with it"
    assert study.trials[0].user_attrs["deaths"] == 3


def test_a_worker_that_dies_while_it_is_idle_is_one_worker_still(study: optuna.Study) -> None:
    answers = iter([Ended("failed", "no luck")] * 2)
    pool = Pool(lambda: next(answers, Ended()), ("one", "two", "three"))
    pool.news.extend([("three", Died("idle")), ("three", Died("idle"))])  # while the others have both trials
    assert run(study, x, 2, pool)[1] == ["idle", "idle"]
    assert [trial.state.name for trial in study.trials] == ["FAIL", "FAIL", "COMPLETE", "COMPLETE"]


@pytest.mark.parametrize("more", [False, True])
def test_reports_that_come_together_are_written_together(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch, more: bool
) -> None:
    """Of three workers side by side; `more`: there is always more that has come already."""
    saves, save = [], lock.Hold.save

    def counted(hold: lock.Hold) -> None:
        saves.append(writing.of(hold.study).waits)
        save(hold)

    def steps(trial: optuna.Trial) -> Generator[Training, Any, float]:
        score = trial.suggest_float("x", 0, 1)
        told = yield Training(Recipe(), Split((), ()))
        while told is not None:
            trial.report(score * told.views, told.views)
            trial.set_user_attr("last", told.views)
            told = yield Training(Recipe(), Split((), ()))
        return score

    def train(name: str, _: Training) -> None:
        told = [Opened("", number, 1, 0, 1.0, "", {}, 1.0, "cpu", 1) for number in (10, 20, 30)]
        each[name] = deque([*told, Ended()])

    def listen() -> Iterator[tuple[str, Told]]:
        for name in cycle(names):
            if each[name]:
                yield name, each[name].popleft()

    names, each = ("one", "two", "three"), dict[str, deque[Told]]()
    pool = Pool(names=names)
    pool.train, pool.listen = train, listen  # type: ignore[method-assign, assignment]
    if more:
        pool.inbox.put(None)
    monkeypatch.setattr(lock.Hold, "save", counted)
    study.sampler = Sampler("random", 0)
    run(study, x, 6, pool, steps)
    for trial in study.trials:
        assert trial.value == trial.params["x"]
        assert list(trial.intermediate_values.items()) == [(n, trial.params["x"] * n) for n in (10, 20, 30)]
        assert trial.user_attrs["last"] == 30
    assert sum(saves) == (6 if more else 24)  # as each is drawn, and so it would be after each that is told


def test_three_failures_in_a_row_end_a_search(study: optuna.Study) -> None:
    with pytest.raises(MilairError, match="3 trials failed in a row, the last with: no luck"):
        run(study, x, pool=Pool(lambda: Ended("failed", "no luck")))
    assert [trial.state.name for trial in study.trials] == ["FAIL"] * 3


def test_trouble_outside_of_a_trial_ends_a_search_and_the_trial_waits(study: optuna.Study) -> None:
    with pytest.raises(OutsideError, match="no room"):
        run(study, x, pool=Pool(lambda: Ended("outside", "no room")))
    assert [(trial.state.name, kept.error(trial)) for trial in study.trials] == [("WAITING", "no room")]
    run(study, x)
    assert [(trial.state.name, kept.error(trial)) for trial in study.trials] == [("COMPLETE", "")]


def test_a_trial_that_another_program_ends_ends_the_search_and_others_wait(study: optuna.Study) -> None:
    """As the dashboard can."""

    def score(trial: optuna.Trial) -> float:
        if trial.number == 0:
            study.tell(0, state=TrialState.FAIL)
        return x(trial)

    with pytest.raises(OutsideError, match="trial 0 was ended by another program"):
        run(study, score, 2, pool=Pool(names=("one", "two")))
    assert [trial.state.name for trial in study.trials] == ["FAIL", "WAITING"]
    run(study, x, 2)
    assert [trial.state.name for trial in study.trials] == ["FAIL", "COMPLETE", "COMPLETE"]


def test_a_trial_that_ends_while_it_is_put_back_stays_ended(
    study: optuna.Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As two searches do for a moment beside a lock file that somebody deleted."""
    trial = study.ask()
    trial.set_user_attr(lock.SEARCH, "another")
    back = lock.Hold.put_back

    def late(hold: lock.Hold, given: Any) -> None:
        study.tell(given.number, 0.5)
        back(hold, given)

    monkeypatch.setattr(lock.Hold, "put_back", late)
    with lock.held(study) as hold:
        assert queue.put_back(hold) == []
    assert [(one.state, one.value) for one in study.trials] == [(TrialState.COMPLETE, 0.5)]
