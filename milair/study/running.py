"""All that a search writes into its study, which it holds meanwhile: from what waits to what ended it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

import optuna

from milair.recipe import Recipe
from milair.study import lock, queue, results
from milair.study.dashboard import Board
from milair.study.objective import Objective
from milair.study.searching import Listener, Plan, Pool, Search
from milair.study.session import Session

_GRACE = 2  # seconds for a step that is interrupted, and to let trials in hand wait again


def run(
    session: Session,
    study: optuna.Study,
    workers: Pool,
    plan: Plan,
    listener: Listener,
    old: optuna.Study | None,
    weights: Callable[[Recipe], str],
    board: Callable[[lock.Hold], Board],
) -> str:
    """Returns what ended the search, as `Search.run` has it. `old` and `weights`: see `queue.take_over`."""
    with lock.held(study) as hold, lock.signed(hold):
        session.store(study)
        for line in queue.begin(session, hold, old, weights):
            listener.say(line)
        done = results.counted(study)
        draws = len(done) < plan.goal or not plan.confirmation.budget  # else it confirms only
        if draws:
            study.set_user_attr(results.GOAL, plan.goal)
        if len(done) >= plan.goal and plan.confirmation.next(study.get_trials(deepcopy=False)) is None:
            listener.say(f"\n{len(done)} trials are finished and --trials is {plan.goal}: nothing to do")
        ahead = max(0, plan.goal - len(done)) + len(session.splits()) * plan.confirmation.left(study.trials)
        listener.search(done, ahead, workers.names, plan.deadline)
        shown = board(hold)
        shown.study(now=True)
        try:
            end = Search(hold, Objective(session), workers, plan, listener, shown).run()
        except KeyboardInterrupt:
            listener.say("the trials in hand are back in the queue; the same command goes on where this one stopped")
            raise
        shown.study(now=True)
        if draws:
            study.set_user_attr(results.EXHAUSTED, end == "exhausted")
        return end


def apart(work: Callable[[], str], interrupt: Callable[[], None]) -> str:
    """What `work` returns. It has a thread of its own, so that no KeyboardInterrupt strikes inside a transaction.

    One strikes here: `interrupt` then has to end the work, which is not waited for if a database holds it up."""
    working = ThreadPoolExecutor(1).submit(work)
    try:
        return working.result()
    except KeyboardInterrupt:
        interrupt()
        wait([working], _GRACE)
        raise
