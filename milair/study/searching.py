"""The loop of a search: draws trials, hands their recipes to workers, and alone tells the study what came of them."""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from time import monotonic
from typing import Any, Protocol

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from milair.errors import MilairError, OutsideError, what_failed
from milair.study import kept, storage, writing
from milair.study.arms import CONFIRMS
from milair.study.confirming import Confirmation
from milair.study.dashboard import Board
from milair.study.lock import SEARCH, Hold
from milair.study.objective import Objective, Steps
from milair.study.queue import queue_again
from milair.study.results import FINISHED
from milair.study.samplers import STARTUP, Parameters
from milair.training.values import Aside, Died, Ended, Epoch, Features, Hopeless, News, Opened, Told, Training

TURN = 0.6  # of a search's time, after which it confirms: see docs/noise.md
DEATHS = 3  # workers that may die with a trial before it counts as failed
FAILURES = 3  # in a row, end a search


class Pool(Protocol):
    """Workers by name, each with one training at a time, of which Ended is the last that it tells."""

    @property
    def names(self) -> Sequence[str]: ...
    @property
    def inbox(self) -> SimpleQueue[Any]: ...  # what workers have told already
    def train(self, name: str, training: Training) -> None: ...
    def stop(self, name: str) -> None: ...
    def listen(self) -> Iterator[tuple[str, Told]]: ...


class Listener(Protocol):
    """Who shows a search while it runs."""

    def advance(self, what: str, done: int, total: int, score: float | None = None, worker: str = "") -> None: ...
    def note(self, text: str, key: str) -> None: ...
    def say(self, text: str = "") -> None: ...
    def search(self, finished: Sequence[FrozenTrial], ahead: int, workers: Sequence[str], deadline: float) -> None: ...
    def trial(self, trial: FrozenTrial, worker: str = "") -> None: ...


@dataclass(frozen=True)
class Plan:
    """What a search is to come to."""

    goal: int  # finished trials in all
    confirmation: Confirmation  # what follows
    deadline: float = math.inf  # of time.monotonic: no trial begins later
    turn: float = math.inf  # and from then on what may be the best goes first
    configurations: Sequence[Parameters] | None = None  # of the space, in the order of a grid; None: without end
    grid: bool = False  # all are drawn in that order, not only the first


@dataclass
class Hand:
    """A trial in hand: its worker trains it."""

    trial: optuna.Trial
    training: Training
    steps: Steps
    epochs: int = 0  # of folds that have ended


@dataclass
class Search:
    """Runs trials until the study has them, or nothing is left to draw, or time is over."""

    hold: Hold
    objective: Objective
    workers: Pool
    plan: Plan
    listener: Listener
    board: Board | None = None  # for people, beside the listener
    hands: dict[str, Hand] = field(default_factory=dict)  # by worker
    busy: set[str] = field(default_factory=set)  # workers that have not told the end of a training
    failures: int = 0

    def run(self) -> str:
        """Returns what ended it: "goal", "exhausted" or "time". A trial that is interrupted waits as it was.

        One that fails keeps its reason. OutsideError for trouble outside of trials: a full disk, a picture that
        vanished, a database that fails, another search that holds the study; the trial that met it waits."""
        try:
            news = self.workers.listen()
            while (end := self._fill()) is None or self.hands:
                while self._hear(*self._next(news)):
                    pass
            return end
        except (StorageInternalError, SQLAlchemyError) as error:
            raise OutsideError(f"the database of studies: {storage.reason(error)}") from error
        except UpdateFinishedTrialError as error:
            raise OutsideError(str(error)) from error
        finally:
            self._give_back()

    def _next(self, news: Iterator[tuple[str, Told]]) -> tuple[str, Told]:
        """What is told next. Before that is waited for, all that was set meanwhile is written together."""
        if self.workers.inbox.empty():
            self.hold.save()
        return next(news)

    def _fill(self) -> str | None:
        """Give idle workers trials; why there are no more, if that is so."""
        while idle := [name for name in self.workers.names if name not in self.busy]:
            trial = self._draw()
            if not isinstance(trial, optuna.Trial):
                return trial
            steps = self.objective.steps(trial)
            try:
                training = next(steps)
            except Exception as error:
                self._ended(trial, error, "")
                continue
            self.hands[idle[0]] = Hand(trial, training, steps)
            self._train(idle[0], training)
        return "time" if not self.workers.names and monotonic() >= self.plan.deadline else None

    def _train(self, name: str, training: Training) -> None:
        self.hold.save()
        self.busy.add(name)
        self.workers.train(name, training)

    def _draw(self) -> optuna.Trial | str | None:
        """The next trial, signed before it runs; else why there is none, or None while others run the last ones."""
        self.hold.check()
        self.objective.session.hold_labels()
        study, plan = self.hold.study, self.plan
        writing.of(study).refresh()
        trials = study.get_trials(deepcopy=False)
        finished = sum(trial.state in FINISHED and CONFIRMS not in trial.user_attrs for trial in trials)
        waiting = [trial for trial in trials if trial.state == TrialState.WAITING]
        drawn = [trial.params for trial in trials if trial.state != TrialState.WAITING and not kept.reference(trial)]
        exhausted = not waiting and plan.configurations is not None and _all(plan.configurations, drawn)
        if monotonic() >= plan.deadline:
            return "goal" if finished >= plan.goal else "time"
        through = finished >= plan.goal or (exhausted and not self.hands)
        again = [trial for trial in waiting if CONFIRMS in trial.user_attrs]
        late = through or monotonic() >= plan.turn
        if late and not again and self._confirm(trials):
            return self._draw()
        if late and again:
            waiting = again
        elif through:
            return "goal" if finished >= plan.goal else "exhausted"
        elif exhausted or finished + len(self.hands) >= plan.goal:
            return None
        if waiting:
            number = waiting[0]._trial_id
            if not self._claim(waiting[0]):
                return self._draw()
        else:  # signed and running at once: another program's `ask` never sees it
            ordered = plan.configurations or [] if plan.grid or len(drawn) < STARTUP else []
            fixed = {"fixed_params": next((point for point in ordered if point not in drawn), {})}
            state, mine = TrialState.RUNNING, {SEARCH: self.hold.id}
            template = optuna.create_trial(state=state, user_attrs=mine, system_attrs=fixed)
            number = study._storage.create_new_trial(study._study_id, template)
        study._thread_local.cached_all_trials = None  # as `ask` does: samplers see what was told since
        return optuna.Trial(study, number)

    def _confirm(self, trials: Sequence[FrozenTrial]) -> bool:
        """Let a trial wait that confirms another; whether there is one to confirm."""
        number = self.plan.confirmation.next(trials)
        if number is not None:
            queue_again(self.hold.study, [number], 1, confirms=True)
        return number is not None

    def _claim(self, trial: FrozenTrial) -> bool:
        """Run a trial that waits, unless another program was faster. Signed first: what runs unsigned is never ours."""
        base, number = storage.of(self.hold.study), trial._trial_id
        with suppress(UpdateFinishedTrialError):
            base.set_trial_user_attr(number, SEARCH, self.hold.id)
            if kept.error(trial):  # of an earlier attempt
                base.set_trial_system_attr(number, kept.ERROR, "")
            if writing.of(self.hold.study).set_trial_state_values(number, TrialState.RUNNING):
                return True
            base.set_trial_user_attr(number, SEARCH, None)
        return False

    def _hear(self, name: str, told: Told) -> bool:
        """What a worker tells; whether it goes on with its trial."""
        hand = self.hands.get(name)
        if isinstance(told, Ended | Died):
            self.busy.discard(name)
        if isinstance(told, Features):
            self.listener.advance(told.what, told.done, told.total, worker=name)
        elif isinstance(told, Died):
            self.listener.say(told.reason)
            if hand is not None:
                self._bereaved(self.hands.pop(name).trial, name, told.machine)
        elif hand is not None and not isinstance(told, Aside):  # without a hand it was just stopped
            self._step(name, hand, told)
        return name in self.hands

    def _step(self, name: str, hand: Hand, told: News | Ended) -> None:
        """Go on with the trial of a worker."""
        self._show(name, hand, told)
        try:
            if isinstance(told, Ended):
                told.check()
                hand.training = hand.steps.send(None)  # of the next fold
                hand.epochs += hand.training.recipe.all_epochs
                self._train(name, hand.training)
            else:
                hand.steps.send(told)
            return
        except StopIteration as end:
            outcome: Exception | float = float(end.value)
        except Exception as error:
            outcome = error
        del self.hands[name]
        if not isinstance(told, Ended):
            self.workers.stop(name)
        self._ended(hand.trial, outcome, name)

    def _ended(self, trial: optuna.Trial, outcome: Exception | float, worker: str) -> None:
        """Tell a trial's end. OutsideError where that is not its own, and the trial waits."""
        state, value = TrialState.FAIL, None
        if isinstance(outcome, float) and math.isnan(outcome):
            outcome = ArithmeticError("its score is not a number")
        if isinstance(outcome, float):
            state, value = TrialState.COMPLETE, outcome
        elif isinstance(outcome, optuna.TrialPruned | Hopeless):
            state = TrialState.PRUNED
        elif isinstance(outcome, StorageInternalError | SQLAlchemyError):
            raise outcome
        self.hold.check()
        if isinstance(outcome, Exception) and not isinstance(outcome, optuna.TrialPruned):
            kept.keep(trial, error=what_failed(outcome))
        if isinstance(outcome, OSError | OutsideError):
            raise OutsideError(what_failed(outcome)) from outcome
        if self.board is not None:
            self.board.trial(trial, state, str(outcome) if state == TrialState.PRUNED else "")
            self.hold.check()  # once more: pictures take their time
        self.hold.study.tell(trial, value, state)
        self._told(trial, worker)

    def _told(self, trial: optuna.Trial, worker: str) -> None:
        frozen = trial.storage.get_trial(trial._trial_id)
        self.listener.trial(frozen, worker)
        if self.board is not None:
            self.board.study()
        self.failures = self.failures + 1 if frozen.state == TrialState.FAIL else 0
        if self.failures == FAILURES:
            raise MilairError(f"{FAILURES} trials failed in a row, the last with: {kept.error(frozen)}")

    def _bereaved(self, trial: optuna.Trial, worker: str, machine: bool) -> None:
        """The worker of a trial has died: it waits as it was, unless too many have died with it.

        One that went with its machine does not count: machines come and go whatever they train."""
        self.hold.check()
        if machine:
            self.hold.put_back(trial)
            return
        deaths = trial.user_attrs.get("deaths", 0) + 1
        trial.set_user_attr("deaths", deaths)
        if deaths < DEATHS:
            self.hold.put_back(trial)
        else:
            self._ended(trial, MilairError(f"{deaths} workers died with it"), worker)

    def _show(self, name: str, hand: Hand, news: News | Ended) -> None:
        if isinstance(news, Epoch):
            recipe = hand.training.recipe
            total = recipe.all_epochs * self.objective.folds(hand.trial, recipe)
            self.listener.advance(f"trial {hand.trial.number}", hand.epochs + news.number, total, news.score, name)
        elif isinstance(news, Opened):
            computed = f"{news.computed} computed now" if news.computed else "all on disk, none computed"
            bank = f"bank     {news.views} views of {news.pictures} pictures"
            size = f"{news.megabytes:.0f} MB in {news.folder}"
            self.listener.note(f"{bank}, {computed} ({size})", f"{bank} {size}")

    def _give_back(self) -> None:
        """Let trials in hand wait as they were; what fails here is done by the next search's start."""
        with suppress(OutsideError, StorageInternalError, SQLAlchemyError):
            self.hold.check()
            for trial in self.hold.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                if trial.user_attrs.get(SEARCH) == self.hold.id:
                    with suppress(UpdateFinishedTrialError):  # another program has ended it
                        self.hold.put_back(trial)


def _all(configurations: Sequence[Parameters], drawn: Sequence[Parameters]) -> bool:
    """Whether so many different ones were drawn."""
    goal = len(configurations)
    return len(drawn) >= goal and len({repr(sorted(parameters.items())) for parameters in drawn}) >= goal
