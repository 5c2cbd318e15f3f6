"""Workers that begin at once, for searches in a test's own process: forked from a process that has imported torch."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from contextlib import chdir
from multiprocessing import forkserver, get_context
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, Self

from milair.workers import local, worker

CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["milair.training.in_process"])


class Process(local._Process):
    """As it is in a search, but for how it begins."""

    @classmethod
    def begin(cls, threads: int, debug: bool) -> Self:
        errors = None if debug else NamedTemporaryFile("w+", errors="replace")  # noqa: SIM115
        ours, theirs = Pipe()
        with theirs:
            popen: Any = Popen(theirs, os.environ | {"OMP_NUM_THREADS": str(threads)}, errors.name if errors else None)
        return cls(popen, ours, errors)


class Popen:
    """As much of a `subprocess.Popen` as a pool of workers needs."""

    def __init__(self, pipe: Connection, environment: Mapping[str, str], errors: str | None) -> None:
        with chdir(Path(__file__).parent.parent):  # which milair the first one finds there all of them have
            forkserver.ensure_running()
        self.process = CONTEXT.Process(target=_work, args=(pipe, environment, errors), daemon=True)
        self.process.start()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def kill(self) -> None:
        self.process.kill()

    def wait(self, timeout: float | None = None) -> int:
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired("a worker", timeout or 0)
        return self.process.exitcode


def _work(pipe: Connection, environment: Mapping[str, str], errors: str | None) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    shown = os.open(errors, os.O_WRONLY | os.O_APPEND) if errors else 2
    for stream in (1, 2) if errors else (1,):
        os.dup2(shown, stream)
    worker.Worker(pipe).work()
