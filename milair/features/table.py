"""A table of features on disk: rows found by their keys, computed once, whoever needs them first.

A table is a folder named by a hash of all that its numbers depend on, but for the pictures. `features.f32` holds
float32 rows [channels, rows, columns] in the order in which they came to be needed; record n of `rows.index` is the key
of row n. It grows only after the features reached the disk: a kill loses at most the rows in hand. A lock beside the
folder lets one process compute while others wait.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from filelock import Timeout

from milair.errors import OutsideError, what_failed
from milair.features import quota
from milair.frames.pictures import Progress

T = TypeVar("T")

BATCH = 32  # rows between two writes, in every forward pass of a GPU, and copied to it at once
KEY = 4 + 32  # bytes, see `key`


@dataclass(frozen=True, slots=True)
class Table:
    rows: torch.Tensor  # float32 [n_rows, channels, rows, columns]: the file, mapped into memory
    numbers: Mapping[bytes, int]  # of the rows, by their keys
    computed: int  # rows that had to be computed now
    megabytes: float  # of all rows that were asked for

    def part(self, keys: Sequence[Sequence[bytes]], device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows on a device that [views, n] keys name, and their index int64 [views, n] into these."""
        index = torch.tensor([[self.numbers[key] for key in view] for view in keys])
        return (self.rows, index) if device.type == "cpu" else _copied(self.rows, index, device)


def key(number: int, content: bytes) -> bytes:
    """What the index says of a row. The number comes first: a record cut short names nothing."""
    return number.to_bytes(4, "little") + content


def open_table(
    folder: Path,
    about: Mapping[str, Any],
    shape: Sequence[int],
    wanted: Mapping[bytes, T],
    compute: Callable[[Sequence[T]], Iterator[torch.Tensor]],
    progress: Progress,
    gigabytes: float,
) -> Table:
    """The table of `folder` that holds what is `about`, with the rows that are `wanted`, computing what is missing.

    `compute` gives the rows [up to BATCH, *shape] of values of `wanted`, in their order. OutsideError for a disk that
    is full: what was computed before stays."""
    place = folder / sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]
    row = np.dtype((np.float32, tuple(shape)))
    try:
        with _alone(place, lambda: progress("waiting for another process: features", 0, len(wanted))):
            place.mkdir(parents=True, exist_ok=True)
            numbers = _numbers(place, row.itemsize)
            missing = {key: value for key, value in wanted.items() if key not in numbers}
            if missing:
                quota.make_room(place, len(missing) * row.itemsize, gigabytes)
                (place / "about.json").write_text(json.dumps(about, indent=2))
                for done in _append(place, numbers, list(missing), compute(list(missing.values()))):
                    progress("features", done, len(missing))
            quota.used(place)
            rows = torch.from_numpy(np.memmap(place / "features.f32", row, "c", shape=len(numbers)))
    except OSError as error:
        raise OutsideError(what_failed(error) if error.filename else f"{place}: {error.strerror}") from error
    return Table(rows, numbers, len(missing), len(wanted) * row.itemsize / 1e6)


def _alone(place: Path, waiting: Callable[[], None]) -> AbstractContextManager[object]:
    """One process at a time until the block ends, saying so where it has to wait."""
    try:
        return quota.lock(place).acquire(timeout=0)
    except Timeout:
        waiting()
        return quota.lock(place).acquire()


def _numbers(place: Path, row_bytes: int) -> dict[bytes, int]:
    """The table's rows by their keys. What a kill has left of rows in hand is cut off."""
    with (place / "features.f32").open("ab") as features, (place / "rows.index").open("a+b") as index:
        whole = min(features.tell() // row_bytes, index.tell() // KEY)
        features.truncate(whole * row_bytes)
        index.truncate(whole * KEY)
        index.seek(0)
        records = index.read()
    return {records[row * KEY : (row + 1) * KEY]: row for row in range(whole)}


def _append(
    place: Path, numbers: dict[bytes, int], keys: Sequence[bytes], batches: Iterator[torch.Tensor]
) -> Iterator[int]:
    """Write batches of features behind the table's rows, which their keys join; yields how many are on the disk."""
    with (place / "features.f32").open("ab") as features, (place / "rows.index").open("ab") as index:
        for first, batch in zip(range(0, len(keys), BATCH), batches, strict=True):
            new = keys[first : first + BATCH]
            for file, content in ((features, batch.numpy().tobytes()), (index, b"".join(new))):
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            numbers.update({key: row for row, key in enumerate(new, len(numbers))})
            yield first + len(new)


def _copied(table: torch.Tensor, index: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows that an index needs, on a device, and the index into these."""
    needed, index = torch.unique(index, return_inverse=True)
    rows = torch.empty((len(needed), *table.shape[1:]), device=device)
    for copy, numbers in zip(torch.split(rows, BATCH), torch.split(needed, BATCH), strict=True):
        copy.copy_(table[numbers])
    return rows, index.to(device)
