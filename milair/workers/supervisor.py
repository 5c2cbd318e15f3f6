"""The supervisor of a search: a worker process per device, started again when it dies, ended together."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from queue import SimpleQueue
from tempfile import TemporaryFile
from time import monotonic
from typing import IO, TYPE_CHECKING, Any

from milair.console.progress import Progress
from milair.errors import MilairError
from milair.study import queue, storage
from milair.workers.worker import Job

if TYPE_CHECKING:
    import optuna

RESTARTS = 3  # of a worker that finishes no trial in between
FAILURES = 3  # in a row, end a search
_GRACE = 2.5  # seconds for a worker to give its trial back
_BEGIN = (
    "import sys; sys.path[:] = sys.argv[1:]; from milair.console.command import leave; "
    "from milair.workers import worker; leave(worker.main())"
)


@dataclass
class Process:
    """A worker's process. It imports what it needs at once, which takes seconds, and works once it is told its job."""

    popen: subprocess.Popen[str]
    errors: IO[str] | None  # what it wrote to stderr

    @classmethod
    def begin(cls, threads: int, debug: bool) -> Process:
        errors = None if debug else TemporaryFile("w+", errors="replace")  # noqa: SIM115
        popen = subprocess.Popen(
            [sys.executable, "-c", _BEGIN, *sys.path],  # as this process finds its modules, in a notebook too
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            start_new_session=True,  # Ctrl-C is for the supervisor
        )
        return cls(popen, errors)

    def tell(self, job: Job) -> None:
        assert self.popen.stdin is not None
        with suppress(BrokenPipeError):  # it died already, and that will be heard
            self.popen.stdin.write(json.dumps(job.to_json()) + "\n")
            self.popen.stdin.flush()  # and stays open: its end tells the worker that we are gone

    def close(self) -> None:
        for file in (self.popen.stdin, self.errors):
            if file is not None:
                with suppress(BrokenPipeError):
                    file.close()


@contextmanager
def waiting(count: int, threads: int, debug: bool) -> Iterator[list[Process]]:
    """So many processes that wait for a job while it is being made; those that are not taken end with the block."""
    left: list[Process] = []
    try:
        for _ in range(count):
            left.append(Process.begin(threads, debug))
        yield left
    finally:
        for process in left:
            process.popen.kill()
            process.popen.communicate()
            process.close()


@dataclass
class _Worker:
    name: str
    process: Process
    ended: str = ""  # why it ended of itself


class Supervisor:
    """Runs workers until the study has its trials, or nothing is left to draw, or time is over.

    They are `waiting` processes as long as there are some, which it takes off that list, and then fresh ones."""

    def __init__(
        self, study: optuna.Study, job: Job, devices: Sequence[str], console: Progress, waiting: list[Process]
    ) -> None:
        self.study, self.console, self.waiting = study, console, waiting
        self.jobs = {name: replace(job, device=device) for name, device in zip(names(devices), devices, strict=True)}
        self.workers: dict[str, _Worker] = {}
        self.deaths: Counter[str] = Counter()
        self.failures = 0
        self.news: SimpleQueue[tuple[_Worker, dict[str, Any] | None]] = SimpleQueue()

    def run(self) -> str:
        """Returns what ended the search: "goal", "exhausted" or "time". MilairError if it cannot go on."""
        ends = set()
        try:
            for name in self.jobs:
                self._start(name)
            while self.workers:
                worker, event = self.news.get()
                if event is not None:
                    self._heard(worker, event)
                elif (end := self._gone(worker)) is not None:
                    ends.add(end)
        finally:
            self._stop()
        return next(end for end in ("goal", "exhausted", "time") if end in ends)

    def _start(self, name: str) -> None:
        job = self.jobs[name]
        process = self.waiting.pop(0) if self.waiting else Process.begin(job.threads, job.debug)
        worker = self.workers[name] = _Worker(name, process)
        threading.Thread(target=self._listen, args=(worker,), daemon=True).start()
        process.tell(job)

    def _listen(self, worker: _Worker) -> None:
        assert worker.process.popen.stdout is not None
        with worker.process.popen.stdout as lines:
            for line in lines:
                with suppress(ValueError):  # a line cut off by a kill
                    self.news.put((worker, json.loads(line)))
        self.news.put((worker, None))

    def _heard(self, worker: _Worker, event: dict[str, Any]) -> None:
        match event.pop("kind"):
            case "advance":
                self.console.advance(**event, worker=worker.name)
            case "note":
                self.console.note(**event)
            case "trial":
                self._ended(worker, event["number"])
            case "end":
                worker.ended = event["why"]
            case "error":
                raise MilairError(event["text"])

    def _ended(self, worker: _Worker, number: int) -> None:
        """A trial is finished, or has failed."""
        trial = self.study.get_trials(deepcopy=False)[number]
        self.console.trial(trial, worker.name)
        self.deaths[worker.name] = 0
        self.failures = self.failures + 1 if trial.state.name == "FAIL" else 0
        if self.failures == FAILURES:
            reason = trial.user_attrs.get("error")
            raise MilairError(f"{FAILURES} trials failed in a row, the last with: {reason}")

    def _gone(self, worker: _Worker) -> str | None:
        """A worker's process is over. Why, if its work is done; else another one takes its place."""
        status = worker.process.popen.wait()
        del self.workers[worker.name]
        try:
            if worker.ended not in ("", "share"):
                return worker.ended
            if worker.ended == "":
                self._died(worker, status)
        finally:
            worker.process.close()
        self._start(worker.name)
        return None

    def _died(self, worker: _Worker, status: int) -> None:
        reason = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        errors = worker.process.errors
        if errors is not None:
            errors.seek(0)
            last = errors.read().strip().splitlines()[-1:]
            reason = ": ".join([reason, *last])
        died = f"worker {worker.name} died ({reason})"
        count = self.deaths[worker.name] = self.deaths[worker.name] + 1
        if count > RESTARTS:
            raise MilairError(f"{died}, {count} times without finishing a trial")
        with storage.alone(self.study):
            left = queue.reclaim(self.study)
        self.console.say(f"{died}; its trial is back in the queue, and another starts ({count} of {RESTARTS})")
        for number in left:
            if self.study.get_trials(deepcopy=False)[number].state.name == "FAIL":  # too many died with it
                self._ended(worker, number)

    def _stop(self) -> None:
        """End what still runs: trials in hand go back to the queue. A second Ctrl-C does not wait for that."""
        left = [worker.process for worker in self.workers.values()]
        if not left:
            return
        try:
            for process in left:
                process.popen.terminate()
            deadline = monotonic() + _GRACE
            for process in left:
                with suppress(subprocess.TimeoutExpired):
                    process.popen.wait(max(0.0, deadline - monotonic()))
        except KeyboardInterrupt:
            pass
        for process in left:
            process.popen.kill()
            process.popen.wait()
            process.close()
        with suppress(Exception), storage.alone(self.study):  # what fails here is done by the next start
            queue.reclaim(self.study, blame=False)


def names(devices: Sequence[str]) -> list[str]:
    """What workers are called: by their devices, with a number where several share one."""
    shared = Counter(devices)
    seen: Counter[str] = Counter()
    found = []
    for device in devices:
        seen[device] += 1
        found.append(f"{device}#{seen[device]}" if shared[device] > 1 else device)
    return found
