"""A Ray cluster on this machine, by Ray's own means for tests: nodes of one CPU each, that can be killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from faults import Place, Search, gone, until

SOON = {"health_check_period_ms": 1000, "health_check_timeout_ms": 2000}  # a node that is gone is missed so quickly


class Nodes:
    """A head without a CPU, and nodes; all in processes of this machine."""

    def __init__(self, count: int) -> None:
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": SOON}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes: list[Any] = []
        self.seen: dict[int, psutil.Process] = {}  # all actors that there ever were
        for _ in range(count):
            self.add()

    def add(self, **environment: str) -> None:
        self.nodes.append(
            self.cluster.add_node(num_cpus=1, include_dashboard=False, env_vars=dict(environment) or None)
        )

    def kill(self, node: Any) -> None:
        """SIGKILL all processes of a node at once, as if its machine had vanished."""
        self.actors()
        for process in self._processes(node):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.nodes.remove(node)
        self.cluster.remove_node(node, allow_graceful=False)

    def kill_head(self) -> None:
        """SIGKILL the head, with which the cluster is gone."""
        for process in self._processes(self.cluster.head_node):
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def making(self) -> Any:
        """The node that writes a bank at this moment; None if there is none."""
        for node in self.nodes:
            for process in self._processes(node):
                with suppress(psutil.Error):
                    if any(Path(file.path).name == "features.f32" for file in process.open_files()):
                        return node
        return None

    def actors(self) -> list[psutil.Process]:
        """Processes of actors of milair that live."""
        for node in self.nodes:
            for process in self._processes(node):
                with suppress(psutil.NoSuchProcess):
                    if any("Actor" in word for word in process.cmdline()):
                        self.seen[process.pid] = process
        return [process for process in self.seen.values() if not gone(process)]

    def alone(self, seconds: float = 60) -> bool:
        """Whether all actors end in that time."""
        return until(lambda: not self.actors(), seconds, 0.2)

    def search(self, place: Place, *more: str) -> Search:
        ray = ("--devices", "auto", "--engine", "ray", "--address", self.cluster.address)
        return place.search(*ray, *more)

    def shutdown(self) -> None:
        processes = [process for node in (*self.nodes, self.cluster.head_node) for process in self._processes(node)]
        self.cluster.shutdown()
        assert until(lambda: all(map(gone, [*processes, *self.seen.values()])), 30), "processes are left"

    @staticmethod
    def _processes(node: Any) -> Sequence[psutil.Process]:
        """Those that Ray started for a node, and all that these started."""
        found = []
        for kind in node.all_processes.values():
            for info in kind:
                with suppress(psutil.NoSuchProcess):
                    process = psutil.Process(info.process.pid)
                    found += [process, *process.children(recursive=True)]
        return found


@contextmanager
def nodes(count: int) -> Iterator[Nodes]:
    """A block with a cluster. Ray takes SIGTERM for itself, which is given back."""
    handler = signal.getsignal(signal.SIGTERM)
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"  # or it warns of what it will do
    made = Nodes(count)
    try:
        yield made
    finally:
        made.shutdown()
        signal.signal(signal.SIGTERM, handler)
