"""Devices to train on: which there are, how much memory each has, and how many threads a worker gets."""

import os
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ctypes import CDLL
from pathlib import Path
from typing import TYPE_CHECKING

from milair.errors import MilairError, UsageError, first_line

if TYPE_CHECKING:
    import torch

_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def places(names: str, per_device: int = 1) -> list[str]:
    """A device for each worker: "auto" (all GPUs, else the CPU) or names such as "cuda:0,cuda:1" or "cpu,cpu".

    UsageError if a name is none, MilairError if the machine has no such GPU."""
    devices = [name.strip() for name in names.split(",")]
    gpus = 0 if set(devices) == {"cpu"} else _gpus()
    if names == "auto":
        devices = [f"cuda:{number}" for number in range(gpus)] or ["cpu"]
    for name in devices:
        if not re.fullmatch(r"cpu|cuda:\d+", name):
            raise UsageError(f"--devices {names}: '{name}' is no device; it must be auto, cpu or cuda:N, joined by ','")
        if name != "cpu" and int(name.removeprefix("cuda:")) >= gpus:
            raise MilairError(f"--devices {names}: {name} is not available; this machine has {gpus} GPUs")
    return [name for name in devices for _ in range(per_device)]


def _gpus() -> int:
    """How many there are. Only where a driver is installed is torch asked, which takes seconds to import."""
    with suppress(OSError):
        if not Path("/dev/kfd").exists():  # AMD's
            CDLL("libcuda.so.1")
        import torch

        return torch.cuda.device_count()
    return 0


def threads(workers: int) -> int:
    """Threads for each of so many workers, no more in all than there are cores, nor than OMP_NUM_THREADS each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores // workers, int(limit) if limit.isdecimal() else cores))


@contextmanager
def with_threads(count: int) -> Iterator[None]:
    """A block that computes with so many threads: on a CPU its numbers depend on them."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def open_device(name: str) -> "torch.device":
    """The first of the places that `name` means. MilairError if it is not available."""
    import torch

    try:
        device = torch.device(places(name)[0])
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise MilairError(f"--devices {name}: not available ({first_line(error)})") from None
    return device


def memory(device: "torch.device") -> int:
    """Bytes that a device has in all; of a CPU, what this container may use."""
    import psutil
    import torch

    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    limits = [Path(file).read_text().strip() for file in _CGROUP_LIMITS if Path(file).is_file()]
    return min([int(psutil.virtual_memory().total), *(int(limit) for limit in limits if limit.isdecimal())])


def peak_memory(device: "torch.device") -> tuple[float, float]:
    """Peak MB of this process since it began (a trial's own share cannot be told), and of the GPU."""
    import torch

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
    gpu = torch.cuda.max_memory_allocated(device) / 1024**2 if device.type == "cuda" else 0.0
    return round(peak, 1), round(gpu, 1)
