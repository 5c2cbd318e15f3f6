"""Features on their way to another machine: which tables hold those of some frames, and joining them to a bank."""

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch

from milair.features import quota
from milair.features.table import BATCH, KEY, open_table
from milair.model import backbones
from milair.recipe import FeatureMap

Wanted = tuple[FeatureMap, str, tuple[int, int]]  # of a table: its map, the weights' fingerprint, the pictures' size


@dataclass(frozen=True)
class Rows:
    """The rows of a table that belong to some frames."""

    about: dict[str, Any]
    keys: bytes  # of the rows, KEY bytes each
    features: Callable[[], Iterator[bytes]]  # float32 rows in that order

    @property
    def count(self) -> int:
        return len(self.keys) // KEY


def rows(folder: Path, contents: Collection[bytes], wanted: Collection[Wanted]) -> Iterator[Rows]:
    """Rows of pictures or crops with these content hashes, of a bank's tables that are wanted.

    A table that is being computed gives the rows that it has."""
    for place in quota.banks(folder):
        if not (place / "about.json").is_file():
            continue
        about = json.loads((place / "about.json").read_text())
        if _what(about) not in wanted:
            continue
        index = (place / "rows.index").read_bytes()
        records = [index[first : first + KEY] for first in range(0, len(index) - KEY + 1, KEY)]
        if numbers := [number for number, record in enumerate(records) if record[4:] in contents]:
            yield Rows(about, b"".join(records[number] for number in numbers), _reader(place, about, numbers))


def _what(about: Mapping[str, Any]) -> Wanted:
    fields = {name: about[name] for name in FeatureMap._fields if name in about}
    width, height = about["preprocessing"]["size"]
    return FeatureMap(**fields), about["weights"], (width, height)


def _row(about: Mapping[str, Any]) -> int:
    """Bytes of a row of a table."""
    feature_map, _, size = _what(about)
    return 4 * math.prod(backbones.measure(feature_map, size)[0])


def _reader(place: Path, about: Mapping[str, Any], numbers: Sequence[int]) -> Callable[[], Iterator[bytes]]:
    def read() -> Iterator[bytes]:
        size = _row(about)
        with (place / "features.f32").open("rb") as file:
            for number in numbers:
                file.seek(number * size)
                yield file.read(size)

    return read


def join(folder: Path, about: dict[str, Any], keys: bytes, features: IO[bytes], gigabytes: float) -> int:
    """Add rows to the table that is `about` the same, which may have some already; how many were new.

    OutsideError if they do not fit the quota, or the disk."""
    row, at = _row(about), 0

    def read(missing: Sequence[int]) -> Iterator[torch.Tensor]:
        nonlocal at
        for first in range(0, len(missing), BATCH):
            batch = []
            for number in missing[first : first + BATCH]:
                features.seek((number - at) * row, 1)
                batch.append(np.frombuffer(features.read(row), np.float32))
                at = number + 1
            yield torch.from_numpy(np.stack(batch))

    wanted = {keys[first : first + KEY]: first // KEY for first in range(0, len(keys), KEY)}
    return open_table(folder, about, (row // 4,), wanted, read, lambda *_: None, gigabytes).computed
