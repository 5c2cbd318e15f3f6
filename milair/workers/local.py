"""Worker processes of this machine, one for each device, started again when they die, ended together."""

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe
from tempfile import TemporaryFile
from typing import IO, Self

from milair.errors import MilairError
from milair.training.values import Died, Ended, Inputs, Told, Training
from milair.workers.messages import Check, Start, Stop
from milair.workers.pool import RESTARTS, Pool

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

    def recv(self) -> Told:
        news: Told = self.pipe.recv()
        return news

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


class Workers(Pool[_Process]):
    """One process for each device, in whose place another one starts when it dies."""

    def __init__(self, devices: Sequence[str], threads: int, debug: bool = False) -> None:
        super().__init__()
        self.devices = dict(zip(names(devices), devices, strict=True))
        self.threads, self.debug = threads, debug
        self.deaths: Counter[str] = Counter()

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.popen.kill()
        for process in self.processes.values():
            process.end()

    @property
    def names(self) -> Sequence[str]:
        return list(self.devices)

    def describe(self) -> str:
        return f"{', '.join(self.devices.values())}; threads for each: {self.threads}"

    def begin(self) -> None:
        for name in self.devices:
            self._begin(name)

    def start(self, inputs: Inputs) -> None:
        self.inputs = inputs
        for name, device in self.devices.items():
            self.processes[name].send(Start(inputs, device, self.threads))

    def train(self, name: str, training: Training) -> None:
        if self.processes[name].tasks >= _SHARE:
            self.processes[name].popen.kill()
            self.processes[name].end()
            self._begin(name)
        self.processes[name].tasks += 1
        super().train(name, training)

    def _begin(self, name: str) -> None:
        process = self.processes[name] = _Process.begin(self.threads, self.debug)
        self._hear(name, process)
        if self.inputs is not None:
            process.send(Start(self.inputs, self.devices[name], self.threads))

    def _heard(self, name: str, process: _Process, news: Told | None) -> Told:
        if isinstance(news, Ended):
            self.deaths[name] = 0
        return self._died(name, process) if news is None else news

    def _died(self, name: str, process: _Process) -> Died:
        died = f"worker {name} died ({process.end()})"
        self.deaths[name] += 1
        if self.deaths[name] > RESTARTS:
            del self.processes[name]
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
