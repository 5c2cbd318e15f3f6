"""What all trials of a study have in common: its data, weights, views and overrides.

`Settings` is that as stored with the study (plain JSON); `Setup` is the same, opened: frames read and split,
banks at hand. A study's settings never change; a run that differs from them is refused with the difference.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from milair.errors import MilairError, UsageError
from milair.features.quota import QUOTA
from milair.frames.frame import Frames, Split, fingerprint
from milair.frames.pictures import Progress
from milair.frames.read import read
from milair.frames.split import default_kind, identity, split
from milair.recipe import Recipe
from milair.space import Space
from milair.training.devices import open_device

if TYPE_CHECKING:
    import torch

    from milair.features.bank import Bank

TRAINING = 2  # of milair: one more when a recipe with its seed comes to other scores; 2: boxes begin about the centre
SAMPLE = "sample"
SAMPLE_VIEWS, VIEWS = 4, 12
# The sample is there to see milair at work within minutes on two cores: a smaller backbone and picture, short epochs.
SAMPLE_OVERRIDES = {
    "backbone": "squeezenet1_1",
    "image_size": "256x144",
    "augmentations": "2",
    "epochs": "20",
    "learning_rate": "0.001",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """A study's identity. `data` and `source` are places and may move; what is in them may not change."""

    space: str
    dimensions: dict[str, Any]
    data: str  # a folder, or "sample"
    fingerprint: str  # of the labelled frames
    source: str  # of pretrained weights: "imagenet", a file or a folder
    views: int  # K, augmented views of each training picture in a bank
    overrides: dict[str, str]  # recipe fields that --set, --epochs and --weights random fix
    split: dict[str, Any] = field(default_factory=lambda: identity((), "stratified"))
    only: dict[str, list[str]] = field(default_factory=dict)  # choices that the space is narrowed to
    objects: str = "largest"  # what becomes of a frame with several objects
    training: int = 1  # the TRAINING of the milair that began it

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Settings:
        """MilairError if another milair wrote them."""
        known = {
            item.name: (item.default, item.default_factory) == (MISSING, MISSING) for item in fields(cls)
        }  # and whether it must be there
        if other := sorted({name for name, needed in known.items() if needed or name in values} ^ set(values)):
            raise MilairError(f"its settings are those of another milair (they differ in '{other[0]}')")
        return cls(**values)

    @property
    def split_kind(self) -> str:
        return str(self.split.get("kind", "stratified"))

    def lacking(self) -> dict[str, Path]:
        """Backbones that the space offers and whose weights are not at hand, with the file that each waits for."""
        from milair.model import backbones

        offered = self.dimensions.get("backbone", {}).get("choices", [])
        if self.source == "imagenet" or self.overrides.get("weights") == "random":
            return {}  # those of torchvision are downloaded in their time
        files = {name: backbones.file(name, self.source) for name in offered}
        return {name: file for name, file in files.items() if not file.is_file()}

    def refuse_difference(
        self,
        run: Settings,
        study: str,
        names: Sequence[str] = ("space", "dimensions", "fingerprint", "views", "overrides", "split", "training"),
        so: str = "--name NAME starts another study, to which --copy-from takes over the trials that fit",
    ) -> None:
        """MilairError that names what differs between this study and a run."""
        mine, other = self.to_json(), run.to_json()
        for name in names:
            if mine[name] != other[name]:
                what = {"fingerprint": "frames or labels", "training": "numerics of training"}.get(name, name)
                raise MilairError(f"study {study} was made with other {what}: {_show(mine[name], other[name])}; {so}")


class Listener(Protocol):
    """Who wants to know about banks."""

    def advance(self, what: str, done: int, total: int) -> None: ...
    def note(self, text: str, key: str) -> None: ...


@dataclass(frozen=True)
class Setup:
    """Settings, opened on a device."""

    settings: Settings
    frames: Frames
    split: Split
    bank_folder: Path
    device: torch.device
    listener: Listener | None = None
    bank_quota: float = QUOTA  # GB that all banks of the folder may take
    _banks: dict[tuple[str, ...], Bank] = field(default_factory=dict, repr=False)
    _weights: dict[tuple[str, str], str] = field(default_factory=dict, repr=False)

    def recipe(self, recipe: Recipe) -> Recipe:
        return recipe.override(self.settings.overrides)

    def bank(self, recipe: Recipe) -> Bank:
        """The bank a recipe draws from. The one last used stays open."""
        from milair.features import bank

        key = (recipe.backbone, recipe.weights, recipe.pooling, recipe.normalisation, recipe.image_size)
        if key not in self._banks:
            self._banks.clear()
            self._banks[key] = bank.load(
                self.split,
                self.frames.classes,
                recipe,
                views=self.settings.views,
                source=self.settings.source,
                folder=self.bank_folder,
                device=self.device,
                progress=self.listener.advance if self.listener else None,
                gigabytes=self.bank_quota,
            )
            if self.listener:
                self.listener.note(*_note(self._banks[key]))
        return self._banks[key]

    def weights(self, recipe: Recipe) -> str:
        """The fingerprint of a recipe's weights. MilairError if they are not to be had."""
        from milair.model import backbones

        key = (recipe.backbone, recipe.weights)
        if key not in self._weights:
            pretrained = recipe.weights == "pretrained"
            state = backbones.load_state(recipe.backbone, self.settings.source) if pretrained else None
            self._weights[key] = backbones.fingerprint(state)
        return self._weights[key]

    def check(self, recipe: Recipe) -> None:
        """MilairError if there is no such backbone, or its weights are not to be had."""
        self.bank_bytes(recipe)
        self.weights(recipe)

    def bank_bytes(self, recipe: Recipe) -> int:
        """Of the features that a recipe draws from."""
        from milair.model import backbones

        shape, _ = backbones.measure(recipe.backbone, recipe.pooling, recipe.size)
        return 4 * math.prod(shape) * (len(self.split.train) * (self.settings.views + 1) + len(self.split.val))

    def memory_needed(self, recipe: Recipe) -> int:
        """Bytes on the device, about: a GPU holds the bank, a CPU reads it from the disk as it goes."""
        from milair.model import heads

        bank = self.bank_bytes(recipe) if self.device.type == "cuda" else 0
        return bank + heads.training_bytes(recipe, len(self.frames.classes))

    def on_all_frames(self) -> Setup:
        """The same, learning from the validation frames as well; their score then says nothing."""
        everything = Split(self.split.train + self.split.val, self.split.val)
        return replace(self, split=everything, _banks={})


def new_settings(
    space: Space,
    data: str,
    frames: Frames,
    *,
    weights: str | None = None,
    views: int | None = None,
    overrides: Mapping[str, str] | None = None,
    only: Mapping[str, Sequence[str]] | None = None,
    objects: str = "largest",
    split_kind: str | None = None,
    stored: Settings | None = None,
) -> Settings:
    """The settings of a run; what is left out is as in the `stored` study, else the default for that data.

    MilairError if an override is not a field of a recipe, or fixes what the space varies, or if `only` names a
    choice that the space does not have."""
    is_sample = data == SAMPLE
    kept = {name: list(choices) for name, choices in (only or (stored.only if stored else {})).items()}
    dimensions = space.narrowed(kept).dimensions()
    if stored is not None:
        fixed, source, default_views = stored.overrides, stored.source, stored.views
    else:
        quick = {path: value for path, value in SAMPLE_OVERRIDES.items() if path not in dimensions}
        fixed, default_views = (quick, SAMPLE_VIEWS) if is_sample else ({}, VIEWS)
        source = os.environ.get("MILAIR_WEIGHTS") or "imagenet"
        weights = weights or ("random" if is_sample else None)
    fixed = fixed | dict(overrides or {})
    if weights == "random":
        fixed = fixed | {"weights": "random"}
    elif weights is not None:
        source = weights
        if space.baseline.override(fixed).weights == "random":
            fixed = fixed | {"weights": "pretrained"}
    for path in fixed:
        for name in dimensions:
            if name == path or name.startswith(f"{path}.") or path.startswith(f"{name.rpartition('.')[0]}."):
                raise UsageError(f"--set {path}: the space {space.name} varies {name}; a study cannot fix it as well")
    needed = most_views(space.baseline.override(fixed), dimensions)
    views = views or max(default_views, needed)
    if views < needed:
        raise UsageError(f"--views {views}: an epoch of {needed} views cannot be drawn from a bank of {views}")
    kind = split_kind or (stored.split_kind if stored else default_kind(frames.labelled))
    return Settings(
        space=space.name,
        dimensions=dimensions,
        data=data,
        fingerprint=fingerprint(frames.labelled),
        source=source if source == "imagenet" else str(Path(source).resolve()),
        views=views,
        overrides=fixed,
        split=identity(frames.labelled, kind),
        only=kept,
        objects=objects,
        training=TRAINING,
    )


def most_views(recipe: Recipe, dimensions: dict[str, Any]) -> int:
    """The most views of a picture that an epoch of any trial draws."""
    domain = dimensions.get("augmentations", {"choices": [recipe.augmentations]})
    return int(max(domain.get("choices") or domain["int"]))


def same_settings(settings: Settings, frames: Frames) -> Settings:
    """What a study's settings are with these frames: the same, if they are the study's."""
    split = identity(frames.labelled, settings.split_kind)
    return replace(settings, fingerprint=fingerprint(frames.labelled), split=split)


def read_frames(data: str, objects: str = "largest", progress: Progress | None = None) -> Frames:
    """The frames of a place in settings; the built-in sample is drawn into the cache folder first."""
    from milair.frames import sample

    folder = sample.write(cache_folder() / "sample-1") if data == SAMPLE else Path(data)
    return read(folder, objects, remember=seen_pictures(), progress=progress)


def open_setup(
    settings: Settings,
    frames: Frames,
    device: str = "auto",
    bank_folder: Path | None = None,
    listener: Listener | None = None,
    bank_quota: float = QUOTA,
) -> Setup:
    """Split the frames and open the device. MilairError if either cannot be done."""
    folder = bank_folder or cache_folder() / "banks"
    halves = split(frames.labelled, settings.split_kind)
    return Setup(settings, frames, halves, folder, open_device(device), listener, bank_quota)


def data_place(folder: str | Path | None) -> str:
    """How settings name where frames lie: an absolute path, or "sample" for the built-in ones."""
    return SAMPLE if folder is None else str(Path(folder).resolve())


def seen_pictures() -> Path:
    """The database of what is known of pictures, see scan.py; its number changes with what it holds."""
    return cache_folder() / "pictures-1.db"


def cache_folder() -> Path:
    """The user's cache folder for milair, or MILAIR_CACHE."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("MILAIR_CACHE") or user_cache_path("milair"))


def _note(bank: Bank) -> tuple[str, str]:
    """A line about an open bank, and the part of it by which one that was shown is known again."""
    part = bank.train
    held = (part.views + 1) * len(part) + len(bank.val)
    new = f"{bank.computed} computed now" if bank.computed else "all found, none computed"
    size = f"{bank.megabytes:.0f} MB in {bank.folder}"
    pictures = f"bank     {held} views of {len(part) + len(bank.val)} pictures"
    return f"{pictures}, {new} ({size})", f"{pictures} {size}"


def _show(mine: Any, other: Any) -> str:
    """Two values, cut down to the keys in which they differ."""
    if isinstance(mine, dict) and isinstance(other, dict):
        keys = sorted(key for key in mine.keys() | other.keys() if mine.get(key) != other.get(key))
        return ", ".join(f"{key} {mine.get(key, 'free')}, now {other.get(key, 'free')}" for key in keys)
    return f"{mine}, now {other}"
