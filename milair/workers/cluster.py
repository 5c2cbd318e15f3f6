"""Workers of a Ray cluster: an actor for each of its GPUs, or else CPUs, on nodes that come and go.

Ray starts and ends them, and says when one is gone. Which there are is decided here, node by node, on the thread that
listens; a second thread only looks whether nodes came or went.
"""

import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from threading import Event, Thread, current_thread, main_thread
from time import sleep
from typing import Any
from uuid import uuid4

import ray
from filelock import FileLock
from ray._private import worker as driver
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from milair import __version__
from milair.errors import MilairError, OutsideError, first_line
from milair.training.values import Died, Ended, Inputs, Joined, Told, Training
from milair.workers.actor import Actor, Parcel, Terms
from milair.workers.messages import Check, Start, Stop
from milair.workers.pool import RESTARTS, Pool

_LOOK = 1.0  # seconds between two looks at the nodes
_REACH = 5.0  # seconds to reach a cluster, and between two tries
_TRIES = 3


@dataclass(frozen=True, slots=True)
class _Node:
    id: str
    name: str
    place: tuple[str, int]  # where Ray listens on it: address and port
    cpus: int
    gpus: int

    def answers(self) -> bool:
        """Whether Ray lives there. The cluster needs some seconds to see that it does not."""
        with suppress(OSError), socket.create_connection(self.place, timeout=_LOOK):
            return True
        return False


class _Worker:
    """An actor, from before Ray has placed it until it is gone."""

    def __init__(self, node: _Node, gpu: bool) -> None:
        placed = NodeAffinitySchedulingStrategy(node.id, soft=False)
        options = {"num_cpus": 1, "num_gpus": int(gpu), "max_restarts": 0, "max_task_retries": 0}
        self.node, self.gpu, self.joined, self.reason = node, gpu, False, "its process ended"
        self.actor: Any = ray.remote(Actor).options(**options, max_concurrency=2, scheduling_strategy=placed).remote()
        self.told: Iterator[Any] = self.actor.hear.options(num_returns="streaming").remote()

    def send(self, request: Start | Check | Training | Stop) -> None:
        self.actor.tell.remote(request)

    def recv(self) -> Told:
        try:
            news: Told = ray.get(next(self.told))
            return news
        except ray.exceptions.RayError as error:
            self.reason = str(error).strip().splitlines()[-1].strip()
            raise


class Workers(Pool[_Worker]):
    """So many workers (None: as many as the cluster has room for), for as long as the block lasts."""

    def __init__(
        self, address: str, most: int | None, ship: bool, bank: Path | None, say: Callable[[str], None], debug: bool
    ) -> None:
        super().__init__()
        self.address, self.most, self.ship, self.bank, self.say, self.debug = address, most, ship, bank, say, debug
        self.nodes: dict[str, _Node] = {}
        self.left_out: dict[str, str] = {}  # nodes by their ids, and why
        self.deaths: Counter[str] = Counter()  # by node, since one of its workers last ended a training
        self.block = ExitStack()
        self.terms, self.parcel = Terms(__version__, None), None

    def __exit__(self, *_: object) -> None:
        self.block.close()

    @property
    def names(self) -> Sequence[str]:
        if self.inputs is None:  # not begun, as nothing is to be trained
            return [self.address]
        return [name for name, worker in self.processes.items() if worker.joined]

    def describe(self) -> str:
        room, kind = sum(map(self._room, self.nodes.values())), "GPUs" if self._gpus else "CPUs"
        return f"Ray at {self.address}: {len(self.nodes)} nodes with {room} {kind}, a worker for each"

    def begin(self) -> None:
        self.block.enter_context(connected(self.address, self.debug))
        self.address = ray.get_runtime_context().gcs_address
        self.nodes = self._living()
        self._tend()
        self._await()
        ended = Event()
        self.block.callback(ended.set)
        Thread(target=self._watch, args=(ended,), daemon=True).start()

    def start(self, inputs: Inputs) -> None:
        if self.bank is not None:
            self.terms = Terms(__version__, self._probe(self.bank))
        if self.ship:
            parcel = Parcel.of(inputs)
            self.say(f"shipped  {parcel.megabytes:.0f} MB of frames and weights, once to each node")
            self.parcel = ray.put(parcel)
        self.inputs = inputs
        for worker in self.processes.values():
            self._start(worker, inputs)

    def _probe(self, folder: Path) -> Path:
        """A lock of this search in a folder that nodes may share. Every worker tries it before it joins."""
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{uuid4().hex}.lock"
        self.block.callback(probe.unlink, missing_ok=True)
        self.block.enter_context(FileLock(probe))
        return probe

    @property
    def _gpus(self) -> bool:
        return any(node.gpus for node in self.nodes.values())

    def _room(self, node: _Node) -> int:
        return node.gpus if self._gpus else node.cpus

    def _start(self, worker: _Worker, inputs: Inputs) -> None:
        device, threads = ("cuda:0", max(1, worker.node.cpus // worker.node.gpus)) if worker.gpu else ("cpu", 1)
        worker.actor.start.remote(Start(inputs, device, threads), self.terms, self.parcel)

    def _tend(self) -> None:
        """Begin workers wherever there is room, first where there are few."""
        while self.most is None or len(self.processes) < self.most:
            there = Counter(worker.node.id for worker in self.processes.values())
            nodes = [node for node in self.nodes.values() if node.id not in self.left_out]
            if not (free := [node for node in nodes if there[node.id] < self._room(node)]):
                break
            self._begin(min(free, key=lambda node: there[node.id]))

    def _begin(self, node: _Node) -> None:
        name = next(name for number in count(1) if (name := f"{node.name}#{number}") not in self.processes)
        worker = self.processes[name] = _Worker(node, self._gpus)
        self.block.callback(ray.kill, worker.actor)
        self._hear(name, worker)
        if self.inputs is not None:
            self._start(worker, self.inputs)

    def _watch(self, ended: Event) -> None:
        known = set(self.nodes)
        while not ended.wait(_LOOK):
            try:
                now = set(self._living())
            except OutsideError as error:
                self.inbox.put(partial(_raise, error))
                return
            if now != known:
                known = now
                self.inbox.put(self._changed)

    def _changed(self) -> None:
        before, self.nodes = self.nodes, self._living()
        for node in before.values():
            if node.id not in self.nodes:
                self.say(f"node {node.name} is gone; {len(self.nodes)} are left")
        for node in self.nodes.values():
            if node.id not in before:
                self.say(f"node {node.name} joins; workers that it has room for: {self._room(node)}")
        self._tend()
        self._await()

    def _await(self) -> None:
        """Say so where nothing can go on until a node joins."""
        if not any(self._room(node) for node in self.nodes.values() if node.id not in self.left_out):
            self.say(f"no node has room for a worker: waiting for one (ray start --address={self.address})")

    def _living(self) -> dict[str, _Node]:
        """The nodes that live, by their ids. OutsideError if the head is gone, before Ray ends this process for it."""
        tries = 0
        while True:
            try:
                _reach(self.address)
                return _nodes()
            except Exception as error:
                if (tries := tries + 1) == _TRIES:
                    raise OutsideError(f"the Ray cluster at {self.address} is gone ({first_line(error)})") from error
            sleep(_REACH)

    def _heard(self, name: str, process: _Worker, news: Told | None) -> Told:
        if isinstance(news, Joined):
            process.joined = True
        elif news is None:
            return self._died(name, process)
        elif isinstance(news, Ended) and process.joined:
            self.deaths[process.node.id] = 0
        elif isinstance(news, Ended):
            ray.kill(self.processes.pop(name).actor)
            self._leave_out(process.node, news.reason)
            return Died(f"worker {name} does not join: {news.reason}")
        return news

    def _died(self, name: str, worker: _Worker) -> Died:
        del self.processes[name]
        if worker.node.id not in self._living() or not worker.node.answers():
            return Died(f"worker {name} is gone with its node", machine=True)
        died = f"worker {name} died ({worker.reason})"
        self.deaths[worker.node.id] += 1
        if (times := self.deaths[worker.node.id]) > RESTARTS:
            self._leave_out(worker.node, f"{died}, {times} times without finishing a trial")
            return Died(f"{died}, {times} times without finishing a trial; its node begins no more")
        self._tend()
        return Died(f"{died}; another starts ({times} of {RESTARTS})")

    def _leave_out(self, node: _Node, reason: str) -> None:
        """Begin no more workers on a node. MilairError if there is no other one."""
        self.left_out[node.id] = reason
        if not self.names and not any(self._room(node) for node in self.nodes.values() if node.id not in self.left_out):
            raise MilairError(f"no node can train: {node.name}: {reason}")


@contextmanager
def connected(address: str, debug: bool) -> Iterator[None]:
    """A block that is a Ray driver, whose actors end with it. MilairError if there is no cluster at the address."""
    if ray.is_initialized():  # a notebook is one already
        yield
        return
    if address.startswith("ray://"):
        raise MilairError(f"--address {address}: a search runs on a node of its cluster, and says auto or HOST:PORT")
    handler = signal.getsignal(signal.SIGTERM)
    if not debug:
        driver.print_to_stdstream = lambda *_, **__: None  # what it says of its nodes: stdout is the search's
    try:
        if ":" in address:
            _reach(address)
        ray.init(address=address, log_to_driver=debug, logging_level="ERROR", namespace="milair")
    except Exception as error:  # Ray raises many kinds
        raise MilairError(f"--address {address}: {first_line(error)} (ray start --head begins a cluster)") from error
    finally:
        if current_thread() is main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray's would end the search at once
    try:
        yield
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """OSError if nothing listens at HOST:PORT. Ray itself tries for a minute, and more."""
    host, port = address.rsplit(":", 1)
    socket.create_connection((host, int(port)), timeout=_REACH).close()


def _raise(error: Exception) -> None:
    raise error


def _nodes() -> dict[str, _Node]:
    """Those that live, by their ids."""
    nodes = {}
    for node in filter(lambda node: node["Alive"], ray.nodes()):
        cpus, gpus = (int(node["Resources"].get(kind, 0)) for kind in ("CPU", "GPU"))
        place = node["NodeManagerAddress"], node["NodeManagerPort"]
        nodes[node["NodeID"]] = _Node(node["NodeID"], node["NodeName"], place, cpus, gpus)
    return nodes
