"""Devices: what --devices means, and how many threads a worker gets."""

import pytest
import torch

from milair.errors import MilairError, UsageError
from milair.training import devices
from milair.workers.local import names


@pytest.mark.parametrize(
    ("asked", "each", "gpus", "found"),
    [
        ("auto", 1, 0, ["cpu"]),
        ("auto", 1, 2, ["cuda:0", "cuda:1"]),
        ("auto", 2, 1, ["cuda:0", "cuda:0"]),
        ("cpu,cpu", 1, 2, ["cpu", "cpu"]),
        ("cuda:1, cpu", 2, 2, ["cuda:1", "cuda:1", "cpu", "cpu"]),
    ],
)
def test_devices_are_named_or_found(
    monkeypatch: pytest.MonkeyPatch, asked: str, each: int, gpus: int, found: list[str]
) -> None:
    monkeypatch.setattr(devices, "CDLL", str)  # a driver is installed
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert devices.places(asked, each) == found


@pytest.mark.parametrize("asked", ["gpu", "cuda", "cuda:x", "cpu:0", "", "cpu,,cpu"])
def test_what_is_no_device_is_refused(asked: str) -> None:
    with pytest.raises(UsageError, match="it must be auto, cpu or cuda:N"):
        devices.places(asked)


def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(MilairError, match=r"cuda:99 is not available; this machine has \d+ GPUs"):
        devices.open_device("cuda:99")


@pytest.mark.parametrize(
    ("cores", "asked", "workers", "each"),
    [(2, "", 2, 1), (2, "", 1, 2), (16, "", 3, 5), (2, "", 8, 1), (16, "2", 2, 2)],
)
def test_threads_are_divided_among_workers(
    monkeypatch: pytest.MonkeyPatch, cores: int, asked: str, workers: int, each: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert devices.threads(workers) == each


def test_a_block_has_its_own_number_of_threads() -> None:
    before = torch.get_num_threads()
    with devices.with_threads(2):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == before


def test_this_machine_has_memory() -> None:
    assert 1e8 < devices.memory(torch.device("cpu")) < 1e14


def test_workers_are_called_by_their_devices() -> None:
    assert names(["cuda:0", "cuda:1"]) == ["cuda:0", "cuda:1"]
    assert names(["cpu", "cuda:0", "cpu"]) == ["cpu#1", "cuda:0", "cpu#2"]
