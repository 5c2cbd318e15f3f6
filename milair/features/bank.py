"""The feature bank: what the frozen backbone makes of every view of every picture, computed once, kept on disk.

A bank is a folder named by a hash of all that its numbers depend on. `features.f32` holds float32 rows
[view, picture, channels, rows, columns], view 0 being the plain picture, so that more views are appended to
what is there. `rows.json` says how many rows are whole and is replaced only after they reached the disk: a
kill loses at most the rows in hand. A lock beside the folder lets one process compute while others wait.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from filelock import Timeout
from torch import Tensor

from milair.errors import OutsideError, what_failed
from milair.features import quota
from milair.features import views as augmentation
from milair.features.preprocessing import VIEW_SEED, Picture, decode, normalise, see, statistics
from milair.frames.frame import Frame, Split
from milair.model import backbones
from milair.recipe import Recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

BATCH = 32  # pictures in one forward pass; fixed, and begun anew with each view, so that no number depends on history
SEEN = 0.5  # a view that hides more than this share of the object is replaced by the plain picture
_DECODED_BYTES = 1 << 30  # resized pictures kept in memory while a bank is computed

Progress = Callable[[str, int, int], None]  # what, done, total


@dataclass(frozen=True, slots=True)
class Part:
    """Views of n pictures as tensors on one device; the first axis is the view, 0 the plain picture."""

    features: Tensor  # float32 [views + 1, n, channels, rows, columns]
    boxes: Tensor  # float32 [views + 1, n, 4] in shares of the view
    seen: Tensor  # bool [views + 1, n]: enough of the object is in the view
    labels: Tensor  # int64 [n]

    @property
    def views(self) -> int:
        return len(self.features) - 1

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
    megabytes: float = 0  # of these views on disk
    folder: Path = Path()

    @property
    def shape(self) -> tuple[int, int, int]:
        channels, rows, columns = self.train.features.shape[2:]
        return channels, rows, columns


def load(
    split: Split,
    classes: Sequence[str],
    recipe: Recipe,
    *,
    views: int,
    source: str,
    folder: Path,
    device: torch.device,
    progress: Progress | None = None,
    gigabytes: float = quota.QUOTA,
) -> Bank:
    """The bank of a split under a recipe's backbone, size and normalisation, computing what is missing.

    `views` (K) augmented views of each training picture; `source` says where pretrained weights come from (see
    `backbones.load_state`); all banks of the folder may take so many `gigabytes`. OutsideError names a picture that
    cannot be decoded, or a disk that is full: what was computed before stays.
    """
    state = None if recipe.weights == "random" else backbones.load_state(recipe.backbone, source)
    mean, std = statistics(tuple(frame.path for frame in split.train), recipe)
    build = _Build(
        recipe, state, backbones.fingerprint(state), mean, std, folder, device, progress or (lambda *_: None), gigabytes
    )
    parts, computed, size = [], 0, 0.0
    for name, frames, count in (("training", split.train, views), ("validation", split.val, 0)):
        pictures = [Picture(frame.path, frame.picture.content) for frame in frames]
        features, new = build.rows(name, pictures, count)
        parts.append(_part(features, frames, pictures, classes, device))
        computed, size = computed + new, size + features.nbytes / 1e6
    return Bank(parts[0], parts[1], tuple(classes), mean, std, build.weights, computed, size, folder)


@dataclass(frozen=True, slots=True)
class _Build:
    recipe: Recipe
    state: dict[str, Tensor] | None
    weights: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    folder: Path
    device: torch.device
    progress: Progress
    gigabytes: float

    def rows(self, name: str, pictures: Sequence[Picture], views: int) -> tuple[NDArray[np.float32], int]:
        """Memory-mapped features [views + 1, n, channels, rows, columns], and how many views had to be computed."""
        recipe = self.recipe
        about = {
            "pictures": hashlib.sha256(b"".join(picture.content for picture in pictures)).hexdigest(),
            "backbone": recipe.backbone,
            "weights": self.weights,
            "pooling": recipe.pooling,
            "image_size": recipe.image_size,
            "mean": self.mean,
            "std": self.std,
            "views": [VIEW_SEED, augmentation.VERSION],
            "device": self.device.type,
        }
        place = self.folder / hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]
        shape, _ = backbones.measure(recipe.backbone, recipe.pooling, recipe.size)
        total, row = (views + 1) * len(pictures), 4 * int(np.prod(shape))
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with _only_one(place, lambda: self.progress(f"waiting for another process: {name} features", 0, total)):
                place.mkdir(exist_ok=True)
                done = _rows_done(place, len(pictures), row)
                if done < total:
                    quota.make_room(place, (total - done) * row, self.gigabytes)
                    replace_text(place / "about.json", json.dumps(about, indent=2))
                    self._compute(place, name, pictures, done, total, shape)
                quota.used(place)
                features = np.memmap(place / "features.f32", np.float32, "c", shape=(views + 1, len(pictures), *shape))
        except OSError as error:
            raise OutsideError(what_failed(error) if error.filename else f"{place}: {error.strerror}") from error
        return features, max(total - done, 0)

    def _compute(
        self,
        place: Path,
        name: str,
        pictures: Sequence[Picture],
        done: int,
        total: int,
        shape: tuple[int, int, int],
    ) -> None:
        size = self.recipe.size
        backbone = backbones.build(self.recipe.backbone, self.recipe.pooling, self.state)
        backbone = backbone.to(self.device).to(memory_format=torch.channels_last)  # 1.8 times as fast on a CPU
        at_once = 1 if self.device.type == "cpu" else BATCH  # larger ones cost a CPU half again: memory, then cache
        decoded = _Decoded(pictures, size)
        start = done
        with (place / "features.f32").open("r+b" if done else "wb") as file, torch.inference_mode():
            file.seek(done * 4 * int(np.prod(shape)))
            while done < total:
                number, first = divmod(done, len(pictures))
                places = range(first, min(first + BATCH, len(pictures)))
                batch = [see(decoded[place], pictures[place], number) for place in places]
                normal = normalise(torch.stack(batch).to(self.device), self.mean, self.std)
                normal = normal.contiguous(memory_format=torch.channels_last)
                features = torch.cat([backbone(part) for part in torch.split(normal, at_once)])
                file.write(features.cpu().contiguous().numpy().tobytes())
                file.flush()
                os.fsync(file.fileno())
                done += len(batch)
                replace_text(place / "rows.json", json.dumps(done))
                self.progress(f"{name} features", done - start, total - start)


class _Decoded:
    """Resized pictures by their place, the first of them kept while a bank is computed.

    In one block of memory: thousands of small ones among a batch's large ones would make the process grow with each."""

    def __init__(self, pictures: Sequence[Picture], size: tuple[int, int]) -> None:
        self.pictures, self.size = pictures, size
        kept = min(len(pictures), _DECODED_BYTES // (3 * size[0] * size[1]))
        self.pixels = torch.empty((kept, 3, size[1], size[0]), dtype=torch.uint8)
        self.there = [False] * kept

    def __getitem__(self, place: int) -> Tensor:
        """uint8 [3, height, width]."""
        if place >= len(self.there):
            return decode(self.pictures[place].path, self.size)
        if not self.there[place]:
            self.pixels[place] = decode(self.pictures[place].path, self.size)
            self.there[place] = True
        return self.pixels[place]


def replace_text(path: Path, text: str) -> None:
    """Write a small file so that a reader sees the old text or the new one, never a part."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text)
        beside.replace(path)
    except OSError:  # a full disk
        beside.unlink(missing_ok=True)
        raise


def _part(
    features: NDArray[np.float32],
    frames: Sequence[Frame],
    pictures: Sequence[Picture],
    classes: Sequence[str],
    device: torch.device,
) -> Part:
    moved = [
        [augmentation.move(picture.view(number), frame.box) for frame, picture in zip(frames, pictures, strict=True)]
        for number in range(len(features))
    ]
    return Part(
        features=torch.from_numpy(features).to(device),
        boxes=torch.tensor([[box for box, _ in row] for row in moved], device=device),
        seen=torch.tensor([[share >= SEEN for _, share in row] for row in moved], device=device),
        labels=torch.tensor([classes.index(frame.label) for frame in frames], device=device),
    )


@contextmanager
def _only_one(place: Path, waiting: Callable[[], None]) -> Iterator[None]:
    """One process at a time, saying so where it has to wait."""
    lock = quota.lock(place)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _rows_done(place: Path, pictures: int, row_bytes: int) -> int:
    """Rows in whole batches: what `rows.json` says, as far as the file beside it bears that out."""
    try:
        said = int(json.loads((place / "rows.json").read_text()))
        done = min(said, (place / "features.f32").stat().st_size // row_bytes)
    except (OSError, ValueError):
        return 0
    view, first = divmod(done, pictures)
    return view * pictures + first // BATCH * BATCH
