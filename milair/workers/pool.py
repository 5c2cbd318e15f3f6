"""What pools of workers share, wherever these run: tasks out, news in, on one thread that listens."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from time import monotonic
from typing import Generic, Protocol, Self, TypeVar

from milair.errors import MilairError
from milair.training.values import Deserted, Died, Ended, Inputs, Needs, Told, Training
from milair.workers.messages import Check, Start, Stop

_PATIENCE = 1.0  # seconds between two words of a pool that has no worker
RESTARTS = 3  # of a worker, or of those of a machine, that end no training in between


class Process(Protocol):
    """A worker, as the search has it in hand."""

    def send(self, request: Start | Check | Training | Stop) -> None: ...
    def recv(self) -> Told:
        """Raises what it likes once the worker is gone."""


P = TypeVar("P", bound=Process)


class Pool(ABC, Generic[P]):
    """A block in which workers train. They hold nothing that is lost when they are killed."""

    def __init__(self) -> None:
        self.inputs: Inputs | None = None
        self.processes: dict[str, P] = {}
        self.inbox: SimpleQueue[tuple[str, P, Told | None] | Callable[[], None]] = SimpleQueue()  # or what to do
        self.interrupted = False

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(self, *_: object) -> None: ...

    @property
    @abstractmethod
    def names(self) -> Sequence[str]:
        """Workers that can be given a training."""

    @abstractmethod
    def describe(self) -> str:
        """Where they run, for people."""

    @abstractmethod
    def begin(self) -> None:
        """Let workers import what they need, which takes seconds, while there is no more to tell them."""

    @abstractmethod
    def start(self, inputs: Inputs) -> None:
        """Tell all workers what their trainings share."""

    @abstractmethod
    def _heard(self, name: str, process: P, news: Told | None) -> Told:
        """What a worker told, once that is seen to; of None, which is its end, a Died."""

    def check(
        self, training: Training, deadline: float = math.inf, say: Callable[[str], object] = lambda _: None
    ) -> Needs:
        """What a training needs. MilairError if its backbone or weights are not available, or if there is no worker
        until the `deadline` of time.monotonic. `say` is told which ones died, or do not join."""
        news, asked = self.listen(), ""
        while True:
            if not asked and self.names:
                asked = self.names[0]
                self.processes[asked].send(Check(training))
            name, told = next(news)
            if isinstance(told, Needs):
                needs = told
            if isinstance(told, Ended):
                told.check()
                return needs
            if isinstance(told, Died):
                say(told.reason)
                asked = "" if name == asked else asked
            if isinstance(told, Deserted) and monotonic() >= deadline:
                raise MilairError("no worker has joined within --timeout")

    def train(self, name: str, training: Training) -> None:
        """Let an idle worker train; what becomes of it is heard, Ended last."""
        self.processes[name].send(training)

    def stop(self, name: str) -> None:
        """End the training of a worker after its epoch; Ended is heard then."""
        self.processes[name].send(Stop())

    def interrupt(self) -> None:
        """Let the thread that listens have a KeyboardInterrupt there."""
        self.interrupted = True
        self.inbox.put(self._interrupted)

    def listen(self) -> Iterator[tuple[str, Told]]:
        """What workers tell, as it comes, without end. MilairError if one dies again and again."""
        while True:
            try:
                item = self.inbox.get(timeout=None if self.names else _PATIENCE)
            except Empty:
                yield "", Deserted()
                continue
            self._interrupted()
            if callable(item):
                item()
            elif self.processes.get(item[0]) is item[1]:  # else a fresh one has taken over meanwhile
                yield item[0], self._heard(*item)

    def _interrupted(self) -> None:
        if self.interrupted:
            raise KeyboardInterrupt

    def _hear(self, name: str, process: P) -> None:
        """Hear a worker on a thread of its own: one that is stopped in the middle of a message holds up no other."""

        def hear() -> None:
            with suppress(Exception):  # it died, or what it sent cannot be read: either is its end
                while True:
                    self.inbox.put((name, process, process.recv()))
            self.inbox.put((name, process, None))

        Thread(target=hear, daemon=True).start()
