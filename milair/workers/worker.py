"""A worker: a process with one device that draws trials from a study until none is left to draw.

It imports what it needs, reads its job as one line of JSON, and tells its supervisor what happens as lines of JSON.
When the supervisor is gone, its input ends, and so does the worker: its trial goes back to the queue.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from milair.console.command import DONE, FAILED, INTERRUPTED
from milair.errors import MilairError

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from milair.recipe import Recipe
    from milair.training.train import Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """All that a worker must know."""

    storage: str
    study: str
    space: str  # path of its file
    device: str
    threads: int
    bank: str | None  # folder
    bank_quota: float  # GB
    goal: int  # finished trials in all
    deadline: float  # on this machine's monotonic clock: no trial begins after it
    share: int  # trials after which a fresh process takes over
    sampler: str
    pruner: str
    seed: int
    debug: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Events:
    """News as lines of JSON."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def send(self, kind: str, **values: Any) -> None:
        print(json.dumps({"kind": kind, **values}), file=self.stream, flush=True)

    def advance(self, what: str, done: int, total: int, score: float | None = None) -> None:
        self.send("advance", what=what, done=done, total=total, score=score)

    def note(self, text: str, key: str) -> None:
        self.send("note", text=text, key=key)

    def epoch(self, what: str, recipe: Recipe, epoch: Epoch) -> None:
        self.advance(what, epoch.number, recipe.epochs, epoch.score)

    def trial(self, trial: FrozenTrial) -> None:
        self.send("trial", number=trial.number)


def work(job: Job, events: Events) -> str:
    """Run trials of the job's study. Returns what ended it, see `queue.run`."""
    import optuna
    import torch

    from milair import space
    from milair.study import queue, storage
    from milair.study import results as study
    from milair.study import session as setup
    from milair.study.objective import Objective

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    torch.set_num_threads(job.threads)
    chosen = space.load(job.space, Path())
    found = storage.load_study(storage.open_storage(job.storage, create=False), job.study)
    settings = study.stored_settings(found)
    chosen = chosen.narrowed(settings.only)
    bank = None if job.bank is None else Path(job.bank)
    shared = setup.open_setup(
        settings,
        setup.read_frames(settings.data, settings.objects),
        job.device,
        bank,
        events,
        bank_quota=job.bank_quota,
    )
    objective = Objective(chosen, shared, events.epoch)
    without = {"backbone": shared.settings.lacking()}
    configurations = study.configurations(chosen, without)
    found.sampler = study.Sampler(job.sampler, job.seed, without)
    baseline = shared.recipe(chosen.baseline)
    found.pruner = study.pruner(job.pruner, baseline.epochs * setup.most_views(baseline, settings.dimensions))
    draw = queue.Draw(
        goal=job.goal,
        deadline=job.deadline,
        configurations=None if configurations is None else len(configurations),
        next_point=study.grid(configurations, job.seed) if job.sampler == "grid" and configurations else lambda _: {},
        prepare=objective.prepare,
    )
    return queue.run(found, objective, draw, at_most=job.share, ended=events.trial)


def main() -> int:
    for slow in ("milair.study.results", "milair.study.objective", "sklearn.model_selection"):
        import_module(slow)
    line = sys.stdin.readline()
    if not line:  # nothing is to be done, or the supervisor is gone
        return INTERRUPTED
    job = Job(**json.loads(line))
    events = Events(os.fdopen(os.dup(1), "w"))
    os.dup2(2, 1)  # what a space file prints is no news
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    try:
        events.send("end", why=work(job, events))
        return DONE
    except (KeyboardInterrupt, BrokenPipeError):
        return INTERRUPTED
    except MilairError as error:
        if job.debug:
            traceback.print_exc()
        events.send("error", text=str(error))
        return FAILED


def _interrupt(*_: object) -> None:
    """Once: what follows, such as giving the trial back, is not interrupted again."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_with_supervisor() -> None:
    while os.read(0, 1):  # sys.stdin would keep its lock when this process ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)
