"""The feature bank: what the frozen backbone makes of every view of every picture, computed once, kept on disk.

A bank is a folder named by a hash of all that its numbers depend on, but for the pictures. `features.f32` holds float32
rows [channels, rows, columns] in the order in which they came to be needed; record n of `rows.index` says of which view
of which picture row n is. It grows only after the features reached the disk: a kill loses at most the rows in hand.
A lock beside the folder lets one process compute while others wait.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import Timeout

from milair.errors import OutsideError, what_failed
from milair.features import QUOTA, quota
from milair.features.views import SEED, VERSION, apply, move, view
from milair.frames.frame import Frame, Split
from milair.frames.pictures import Picture, Progress
from milair.model import backbones
from milair.model.preprocessing import Preprocessing, statistics
from milair.recipe import FeatureMap, Recipe

BATCH = 32  # views between two writes, in every forward pass of a GPU, and copied to it at once
SEEN = 0.5  # a view that hides more than this share of the object is replaced by the plain picture
_RECORD = 4 + 32  # bytes of `rows.index` for each row, see _key


@dataclass(frozen=True, slots=True)
class Part:
    """Views of n pictures as tensors on one device; view 0 is the plain picture."""

    rows: torch.Tensor  # float32 [n_rows, channels, rows, columns]; on a CPU the bank's file, mapped into memory
    index: torch.Tensor  # int64 [views + 1, n]: the row of each view of each picture
    boxes: torch.Tensor  # float32 [views + 1, n, 4] in shares of the view
    seen: torch.Tensor  # bool [views + 1, n]: enough of the object is in the view
    labels: torch.Tensor  # int64 [n]

    @property
    def views(self) -> int:
        return len(self.index) - 1

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True)
class Bank:
    """All that a training draws from."""

    train: Part
    val: Part  # plain pictures only
    classes: tuple[str, ...]
    mean: tuple[float, ...]  # per channel, of pictures in 0–1
    std: tuple[float, ...]
    weights: str = ""  # fingerprint of the backbone's
    computed: int = 0  # views that had to be computed now
    megabytes: float = 0  # of all views that were asked for, on disk
    folder: Path = Path()

    @property
    def shape(self) -> tuple[int, ...]:
        return self.train.rows.shape[1:]  # channels, rows, columns


def open_bank(
    recipe: Recipe,
    split: Split,
    classes: Sequence[str],
    *,
    frames: Sequence[Frame],
    views: int,
    source: str,
    folder: Path,
    device: torch.device,
    progress: Progress | None = None,
    gigabytes: float = QUOTA,
) -> Bank:
    """The bank of a split under a recipe's backbone, size and normalisation, computing what is missing.

    `views` (K) augmented views of each of `frames`: all labelled ones, so that another split of them finds its own.
    `source` says where pretrained weights come from (see `backbones.load_state`); all banks of the folder may take so
    many `gigabytes`. OutsideError names a picture that cannot be decoded or has changed, or a disk that is full: what
    was computed before stays.
    """
    state = None if recipe.weights == "random" else backbones.load_state(recipe.backbone, source)
    measured: dict[str, Sequence[Frame]] = {"imagenet": (), "data": split.train, "frames": frames}
    pictures = tuple(frame.picture for frame in measured[recipe.normalisation])
    preprocessing = Preprocessing(recipe.size, *(statistics(pictures, recipe.size) if pictures else ()))
    feature_map = recipe.feature_map._asdict()
    about: dict[str, Any] = {
        # Without defaults: banks from before there were other values are found by what they said.
        **{name: value for name, value in feature_map.items() if value != FeatureMap._field_defaults.get(name)},
        "weights": backbones.fingerprint(state),
        "preprocessing": asdict(preprocessing),
        "views": [SEED, VERSION],
        "device": device.type,
    }
    place = folder / sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]
    # Under "data" another split has other statistics, and with them a bank of its own.
    augmented = split.train if recipe.normalisation == "data" else (*frames, *split.train)
    wanted = {
        _key(number, frame.picture): (number, frame.picture)
        for part, numbers in ((augmented, range(views + 1)), (split.val, range(1)))
        for frame in part
        for number in numbers
    }
    row = np.dtype((np.float32, backbones.measure(recipe.feature_map, recipe.size)[0]))
    say = progress or (lambda *_: None)
    try:
        with _alone(place, lambda: say("waiting for another process: features", 0, len(wanted))):
            place.mkdir(parents=True, exist_ok=True)
            rows = _rows(place, row.itemsize)
            missing = {key: view for key, view in wanted.items() if key not in rows}
            if missing:
                quota.make_room(place, len(missing) * row.itemsize, gigabytes)
                (place / "about.json").write_text(json.dumps(about, indent=2))
                batches = _compute(recipe, state, preprocessing, list(missing.values()), device)
                for done in _append(place, rows, list(missing), batches):
                    say("features", done, len(missing))
            quota.used(place)
            table = torch.from_numpy(np.memmap(place / "features.f32", row, "c", shape=len(rows)))
    except OSError as error:
        raise OutsideError(what_failed(error) if error.filename else f"{place}: {error.strerror}") from error

    def part(frames: Sequence[Frame], views: int) -> Part:
        index = torch.tensor([[rows[_key(number, f.picture)] for f in frames] for number in range(views + 1)])
        moved = [[move(view(f.picture.content, number), f.box) for f in frames] for number in range(views + 1)]
        return Part(
            *((table, index) if device.type == "cpu" else _copied(table, index, device)),
            boxes=torch.tensor([[box for box, _ in row] for row in moved], device=device),
            seen=torch.tensor([[share >= SEEN for _, share in row] for row in moved], device=device),
            labels=torch.tensor([classes.index(frame.label) for frame in frames], device=device),
        )

    return Bank(
        part(split.train, views),
        part(split.val, 0),
        tuple(classes),
        preprocessing.mean,
        preprocessing.std,
        about["weights"],
        len(missing),
        len(wanted) * row.itemsize / 1e6,
        folder,
    )


def _alone(place: Path, waiting: Callable[[], None]) -> AbstractContextManager[object]:
    """One process at a time until the block ends, saying so where it has to wait."""
    try:
        return quota.lock(place).acquire(timeout=0)
    except Timeout:
        waiting()
        return quota.lock(place).acquire()


def _key(number: int, picture: Picture) -> bytes:
    """What the index says of a row. The number comes first: a record cut short names no picture."""
    return number.to_bytes(4, "little") + picture.content


def _rows(place: Path, row_bytes: int) -> dict[bytes, int]:
    """The bank's rows by their keys. What a kill has left of rows in hand is cut off."""
    with (place / "features.f32").open("ab") as features, (place / "rows.index").open("a+b") as index:
        whole = min(features.tell() // row_bytes, index.tell() // _RECORD)
        features.truncate(whole * row_bytes)
        index.truncate(whole * _RECORD)
        index.seek(0)
        records = index.read()
    return {records[row * _RECORD : (row + 1) * _RECORD]: row for row in range(whole)}


def _append(
    place: Path, rows: dict[bytes, int], keys: Sequence[bytes], batches: Iterator[torch.Tensor]
) -> Iterator[int]:
    """Write batches of features behind the bank's rows, which their keys join; yields how many are on the disk."""
    with (place / "features.f32").open("ab") as features, (place / "rows.index").open("ab") as index:
        for first, batch in zip(range(0, len(keys), BATCH), batches, strict=True):
            new = keys[first : first + BATCH]
            for file, content in ((features, batch.numpy().tobytes()), (index, b"".join(new))):
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            rows.update({key: row for row, key in enumerate(new, len(rows))})
            yield first + len(new)


@torch.inference_mode()
def _compute(
    recipe: Recipe,
    state: dict[str, torch.Tensor] | None,
    preprocessing: Preprocessing,
    views: Sequence[tuple[int, Picture]],
    device: torch.device,
) -> Iterator[torch.Tensor]:
    """Features of views of pictures in their order, up to BATCH at a time: float32 [n, channels, rows, columns].

    On a CPU pictures pass one by one, on a GPU always BATCH of them: no number depends on what else is computed."""
    backbone = backbones.build(recipe.feature_map, state).to(device)
    backbone.to(memory_format=torch.channels_last)  # 1.8 times as fast on a CPU
    at_once = 1 if device.type == "cpu" else BATCH  # larger ones cost a CPU half again: memory, then cache
    decode = lru_cache(maxsize=1)(preprocessing.decode)  # a picture's views come one after the other
    for first in range(0, len(views), BATCH):
        batch = [
            apply(view(picture.content, number), decode(picture).float() / 255)
            for number, picture in views[first : first + BATCH]
        ]
        padded = torch.stack(batch + batch[-1:] * (-len(batch) % at_once)).to(device)
        normal = preprocessing.normalise(padded).contiguous(memory_format=torch.channels_last)
        yield torch.cat([backbone(pictures) for pictures in torch.split(normal, at_once)])[: len(batch)].cpu()


def _copied(table: torch.Tensor, index: torch.Tensor, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The rows that an index needs, on a device, and the index into these."""
    needed, index = torch.unique(index, return_inverse=True)
    rows = torch.empty((len(needed), *table.shape[1:]), device=device)
    for copy, numbers in zip(torch.split(rows, BATCH), torch.split(needed, BATCH), strict=True):
        copy.copy_(table[numbers])
    return rows, index.to(device)
