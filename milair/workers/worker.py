"""A worker: a process with one device that trains what a search sends it. It knows no study.

It hears and tells through a pipe, or through what an actor has in its place. When the search is gone, the pipe ends,
and so does the worker.
"""

import os
import traceback
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any, Protocol

from milair.errors import OutsideError, what_failed
from milair.training.values import Ended, Features, Hopeless, Told, Training
from milair.workers.messages import Check, Start, Stop


class Pipe(Protocol):
    """As much of a Connection as a worker needs."""

    def recv(self) -> Any: ...
    def send(self, told: Told, /) -> None: ...


class Worker:
    """Listens on a thread of its own, so that a search can stop a training, and its end is noticed at once."""

    def __init__(self, pipe: Pipe) -> None:
        self.pipe = pipe
        self.inbox: SimpleQueue[Start | Check | Training] = SimpleQueue()
        self.stop = Event()
        Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        try:
            while True:
                request = self.pipe.recv()
                if isinstance(request, Stop):
                    self.stop.set()
                else:
                    self.stop.clear()
                    self.inbox.put(request)
        except (EOFError, OSError):
            os._exit(0)
        except Exception:  # what was sent cannot be read: nobody would ever be answered
            traceback.print_exc()
            os._exit(1)

    def work(self) -> None:
        """Run tasks until the search is gone."""
        import torch

        from milair.training import devices
        from milair.training.in_process import Trainer

        pipe, start, trainer = self.pipe, self.inbox.get(), None
        assert isinstance(start, Start)
        torch.set_num_threads(start.threads)
        while isinstance(task := self.inbox.get(), Check | Training):
            ended = Ended()
            try:
                if trainer is None:
                    device = devices.open_device(start.device)
                    trainer = Trainer(start.inputs, device, lambda *step: pipe.send(Features(*step)))
                if isinstance(task, Check):
                    pipe.send(trainer.needs(task.training))
                else:
                    torch.set_num_threads(task.threads or start.threads)
                    for news in trainer.train(task):
                        pipe.send(news)
                        if self.stop.is_set():
                            break
            except Exception as error:
                ended = _ended(error)
            pipe.send(ended)


def _ended(error: Exception) -> Ended:
    if isinstance(error, Hopeless):
        return Ended("hopeless", str(error))
    if isinstance(error, OutsideError | OSError):
        return Ended("outside", what_failed(error))
    traceback.print_exc()  # shown by --debug
    return Ended("failed", what_failed(error))


def main(pipe: int) -> None:
    os.set_inheritable(pipe, False)  # or a process that a library starts would keep it open
    Worker(Connection(pipe)).work()
