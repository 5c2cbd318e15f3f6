"""Worker processes of this machine, one for each device, started again when they die, ended together."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from queue import SimpleQueue
from tempfile import TemporaryFile
from threading import Thread
from typing import IO, Self

from milair.errors import MilairError
from milair.training.values import Died, Ended, Inputs, Needs, Told, Training
from milair.workers.messages import Check, Start, Stop

RESTARTS = 3  # of a worker that ends no training in between
_SHARE = 100  # trainings after which a fresh process takes over
_BEGIN = "import sys; sys.path[:] = sys.argv[2:]; from milair.workers import worker; worker.main(int(sys.argv[1]))"


@dataclass
class _Process:
    """It imports what it needs at once, which takes seconds, and works once it is told to start."""

    popen: subprocess.Popen[bytes]
    pipe: Connection  # of its own: what a library prints to stdout is no news
    errors: IO[str] | None  # what it prints
    tasks: int = 0

    @classmethod
    def begin(cls, threads: int, debug: bool) -> Self:
        errors = None if debug else TemporaryFile("w+", errors="replace")  # noqa: SIM115
        ours, theirs = Pipe()
        with theirs:
            popen = subprocess.Popen(
                [sys.executable, "-c", _BEGIN, str(theirs.fileno()), *sys.path],  # finds modules as this process does
                stdin=subprocess.DEVNULL,
                stdout=errors or 2,
                stderr=errors,
                pass_fds=[theirs.fileno()],
                env=os.environ | {"OMP_NUM_THREADS": str(threads)},
                start_new_session=True,  # Ctrl-C is for the search
            )
        return cls(popen, ours, errors)

    def send(self, request: Start | Check | Training | Stop) -> None:
        with suppress(OSError):  # it died already, and that will be heard
            self.pipe.send(request)

    def end(self) -> str:
        """Kill it; the reason why it was gone already, if it was."""
        with suppress(subprocess.TimeoutExpired):
            self.popen.wait(1)
        self.popen.kill()
        status, last = self.popen.wait(), []
        if self.errors is not None:
            with self.errors as errors:
                errors.seek(0)
                last = errors.read().strip().splitlines()[-1:]
        reason = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
        return ": ".join([reason, *last])


class Workers:
    """A block in which so many processes train. They hold nothing that is lost when they are killed."""

    def __init__(self, devices: Sequence[str], threads: int, debug: bool = False) -> None:
        self.names = names(devices)
        self.devices = dict(zip(self.names, devices, strict=True))
        self.threads, self.debug = threads, debug
        self.inputs: Inputs | None = None
        self.deaths: Counter[str] = Counter()
        self.processes: dict[str, _Process] = {}
        self.inbox: SimpleQueue[tuple[str, _Process, Told | None] | None] = SimpleQueue()
        self.interrupted = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.popen.kill()
        for process in self.processes.values():
            process.end()

    def begin(self) -> None:
        """Let them import what they need, which takes seconds, while there is no more to tell them."""
        for name in self.devices:
            self._begin(name)

    def start(self, inputs: Inputs) -> None:
        """Tell all of them what their trainings share."""
        self.inputs = inputs
        for name, device in self.devices.items():
            self.processes[name].send(Start(inputs, device, self.threads))

    def check(self, training: Training) -> Needs:
        """What a training needs. MilairError if its backbone or weights are not available."""
        first, task = self.names[0], Check(training)
        self.processes[first].send(task)
        for name, news in self.listen():
            if isinstance(news, Needs):
                needs = news
            if isinstance(news, Ended):
                news.check()
                return needs
            if isinstance(news, Died) and name == first:
                self.processes[first].send(task)
        raise AssertionError("it listens without end")

    def train(self, name: str, training: Training) -> None:
        """Let an idle worker train; what becomes of it is heard, Ended last."""
        if self.processes[name].tasks >= _SHARE:
            self.processes[name].popen.kill()
            self.processes[name].end()
            self._begin(name)
        self.processes[name].tasks += 1
        self.processes[name].send(training)

    def stop(self, name: str) -> None:
        """End the training of a worker after its epoch; Ended is heard then."""
        self.processes[name].send(Stop())

    def interrupt(self) -> None:
        """Let the thread that listens have a KeyboardInterrupt there."""
        self.interrupted = True
        self.inbox.put(None)

    def listen(self) -> Iterator[tuple[str, Told]]:
        """What workers tell, as it comes, without end. MilairError if one dies again and again."""
        while True:
            item = self.inbox.get()
            if item is None or self.interrupted:
                raise KeyboardInterrupt
            name, process, news = item
            if self.processes[name] is not process:  # a fresh one has taken over meanwhile
                continue
            if isinstance(news, Ended):
                self.deaths[name] = 0
            yield name, self._died(name) if news is None else news

    def _hear(self, name: str, process: _Process) -> None:
        """On a thread for each process: one that is stopped in the middle of a message holds up no other."""
        with suppress(Exception):  # it died, or what it sent cannot be read: either is its end
            while True:
                self.inbox.put((name, process, process.pipe.recv()))
        self.inbox.put((name, process, None))

    def _begin(self, name: str) -> None:
        process = self.processes[name] = _Process.begin(self.threads, self.debug)
        Thread(target=self._hear, args=(name, process), daemon=True).start()
        if self.inputs is not None:
            process.send(Start(self.inputs, self.devices[name], self.threads))

    def _died(self, name: str) -> Died:
        died = f"worker {name} died ({self.processes.pop(name).end()})"
        self.deaths[name] += 1
        if self.deaths[name] > RESTARTS:
            raise MilairError(f"{died}, {self.deaths[name]} times without finishing a trial")
        self._begin(name)
        return Died(f"{died}; another starts ({self.deaths[name]} of {RESTARTS})")


def names(devices: Sequence[str]) -> list[str]:
    """What workers are called: by their devices, with a number where several share one."""
    shared, numbers = Counter(devices), Counter[str]()
    labels = []
    for device in devices:
        numbers[device] += 1
        labels.append(f"{device}#{numbers[device]}" if shared[device] > 1 else device)
    return labels
