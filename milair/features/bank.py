"""The feature bank: what the frozen backbone makes of every view of every picture, computed once, kept on disk."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from milair.features import QUOTA
from milair.features.crops import Crops
from milair.features.table import BATCH, Table, key, open_table
from milair.features.views import Views
from milair.frames.frame import Frame, Split
from milair.frames.pictures import Picture, Progress
from milair.model import backbones, zoo
from milair.model.extractor import Extractor
from milair.model.preprocessing import Preprocessing, statistics
from milair.recipe import FeatureMap, Recipe

SEEN = 0.5  # a view that hides more than this share of the object is replaced by the plain picture


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
class Second:
    """What a second look draws from."""

    train: Part  # crops of the training pictures; view 0 is view 1
    val: tuple[Picture, ...]  # to be cropped where the first look says


@dataclass(frozen=True, slots=True)
class Bank:
    """All that a training draws from."""

    train: Part
    val: Part  # plain pictures only
    classes: tuple[str, ...]
    mean: tuple[float, ...]  # per channel, of pictures in 0–1
    std: tuple[float, ...]
    weights: str = ""  # fingerprint of the backbone's
    computed: int = 0  # views and crops that had to be computed now
    megabytes: float = 0  # of all that were asked for, on disk
    folder: Path = Path()
    second: Second | None = None  # for a recipe of two looks
    extract: Extractor | None = None  # None of features that no backbone made

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
    """The bank of a split under a recipe's backbone, sizes and normalisation, computing what is missing.

    `views` (K) augmented views of each of `frames`: all labelled ones, so that another split of them finds its own; for
    a second look as many crops. `source` says where pretrained weights come from (see `zoo.load_state`); all
    banks of the folder may take so many `gigabytes`. OutsideError names a picture that cannot be decoded or has
    changed, or a disk that is full: what was computed before stays.
    """
    state = None if recipe.weights == "random" else zoo.load_state(recipe.backbone, source)
    measured: dict[str, Sequence[Frame]] = {"imagenet": (), "data": split.train, "frames": frames}
    pictures = tuple(frame.picture for frame in measured[recipe.normalisation])
    preprocessing = Preprocessing(recipe.size, *(statistics(pictures, recipe.size) if pictures else ()))
    weights, feature_map = zoo.fingerprint(state), recipe.feature_map._asdict()
    extract = Extractor.build(recipe, state, preprocessing, device)
    # Under "data" another split has other statistics, and with them a bank of its own.
    augmented = split.train if recipe.normalisation == "data" else (*frames, *split.train)

    def table(kind: Views | Crops, wanted: Sequence[tuple[int, Frame]]) -> Table:
        about: dict[str, Any] = {
            # Without defaults: banks from before there were other values are found by what they said
            **{name: value for name, value in feature_map.items() if value != FeatureMap._field_defaults.get(name)},
            "weights": weights,
            "preprocessing": asdict(replace(preprocessing, size=kind.size)),
            "views": kind.version,
            "device": device.type,
        }
        return open_table(
            folder,
            about,
            backbones.measure(recipe.feature_map, kind.size)[0],
            {key(number, kind.content(frame)): (number, frame) for number, frame in wanted},
            lambda missing: _compute(extract, kind, missing),
            progress or (lambda *_: None),
            gigabytes,
        )

    def part(table: Table, kind: Views | Crops, frames: Sequence[Frame], numbers: Sequence[int]) -> Part:
        targets = [[kind.target(frame, number) for frame in frames] for number in numbers]
        keys = [[key(number, kind.content(frame)) for frame in frames] for number in numbers]
        return Part(
            *table.part(keys, device),
            boxes=torch.tensor([[box for box, _ in row] for row in targets], device=device),
            seen=torch.tensor([[share >= SEEN for _, share in row] for row in targets], device=device),
            labels=torch.tensor([classes.index(frame.label) for frame in frames], device=device),
        )

    whole, numbers = Views(preprocessing), range(views + 1)
    tables = [table(whole, [*_each(numbers, augmented), *_each(range(1), split.val)])]
    second = None
    if recipe.looks == 2:
        crops = Crops(recipe.crop_size)
        tables.append(table(crops, _each(numbers[1:], augmented)))
        train = part(tables[1], crops, split.train, (1, *numbers[1:]))
        second = Second(train, tuple(frame.picture for frame in split.val))
    return Bank(
        part(tables[0], whole, split.train, numbers),
        part(tables[0], whole, split.val, range(1)),
        tuple(classes),
        preprocessing.mean,
        preprocessing.std,
        weights,
        sum(table.computed for table in tables),
        sum(table.megabytes for table in tables),
        folder,
        second,
        extract,
    )


def _each(numbers: Sequence[int], frames: Sequence[Frame]) -> list[tuple[int, Frame]]:
    return [(number, frame) for frame in frames for number in numbers]


def _compute(extract: Extractor, kind: Views | Crops, views: Sequence[tuple[int, Frame]]) -> Iterator[torch.Tensor]:
    """Features of views of frames in their order, up to BATCH at a time: float32 [n, channels, rows, columns]."""
    for first in range(0, len(views), BATCH):
        shown = [kind.show(frame, number) for number, frame in views[first : first + BATCH]]
        yield extract(torch.stack(shown)).cpu()
