"""Where a search trains: in processes of this machine, or on a Ray cluster. Light to import."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from milair.errors import MilairError, UsageError
from milair.training import devices as places
from milair.workers.local import Workers
from milair.workers.pool import Pool


def pool(
    engine: str,
    devices: str,
    per_device: int,
    address: str | None,
    most: int | None,
    ship: bool,
    bank: Path | None,
    say: Callable[[str], None],
    debug: bool,
) -> Pool[Any]:
    """The workers of an engine, "local" or "ray", which begin in its block.

    UsageError for options that the engine does not have, MilairError if it is not installed."""
    if engine == "local":
        if address or most or ship:
            raise UsageError("--address, --workers and --ship are for --engine ray; on this machine: --devices")
        names = places.places(devices, per_device)
        return Workers(names, places.threads(len(names)), debug)
    if devices != "auto" or per_device != 1:
        raise UsageError(
            "--devices and --per-device are for this machine; with --engine ray the nodes say what they have"
        )
    if find_spec("ray") is None:
        raise MilairError("--engine ray needs Ray: pip install 'milair[ray]'")
    from milair.workers import cluster

    return cluster.Workers(address or "auto", most, ship, bank, say, debug)
