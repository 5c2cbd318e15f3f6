"""A study's identity, as plain JSON stored with it: its data, split, weights, views, and what no trial may vary.

It never changes; a run that differs is refused with the difference.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field, replace
from pathlib import Path
from typing import Any, Self

from pydantic import ConfigDict, ValidationError
from pydantic.dataclasses import dataclass

from milair.errors import MilairError, UsageError
from milair.frames import KINDS, OBJECTS, is_kind
from milair.frames.frame import Frames, fingerprint
from milair.frames.split import default_kind, has_folds, identity
from milair.recipe import Recipe
from milair.space import Space
from milair.study import SAMPLE_VIEWS, VIEWS
from milair.study.limits import checked

TRAINING = 2  # one more when a recipe with its seed comes to other scores; 2: boxes begin about the centre
SAMPLE = "sample"
# The sample is there to see milair at work within minutes on two cores: a smaller backbone and picture, short epochs.
SAMPLE_OVERRIDES = {
    "backbone": "squeezenet1_1",
    "image_size": "256x144",
    "augmentations": "3",
    "epochs": "20",
    "learning_rate": "0.001",
}
_NEW = "--name NAME starts another study, to which --copy-from takes over the trials that fit"
_IDENTITY = ("space", "dimensions", "fingerprint", "views", "overrides", "limits", "split", "training")
_WORDS = {"fingerprint": "frames or labels", "training": "scores of an incompatible version"}


@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid", strict=True))
class Settings:
    """A study's identity. `data` and `source` are places and may move; what is in them may not change."""

    space: str
    dimensions: dict[str, Any]
    data: str  # a folder, or "sample"
    fingerprint: str  # of the labelled frames
    source: str  # of pretrained weights: "imagenet", a file or a folder
    views: int  # K, augmented views of each picture in a bank
    overrides: dict[str, str]  # recipe fields that --set, --epochs and --weights random fix
    split: dict[str, Any] = field(default_factory=lambda: identity((), KINDS[0]))
    only: dict[str, list[str]] = field(default_factory=dict)  # choices that the space is narrowed to
    objects: str = OBJECTS[0]  # what becomes of a frame with several objects
    limits: dict[str, float] = field(default_factory=dict)  # of models that may be the best: parameters, ms
    training: int = 1  # the TRAINING of the milair that began it

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """MilairError if an incompatible version wrote them."""
        try:
            return cls(**values)
        except ValidationError as error:
            where = error.errors()[0]["loc"][0]
            raise MilairError(f"its settings are of an incompatible version (they differ in '{where}')") from None

    @property
    def split_kind(self) -> str:
        return str(self.split.get("kind", KINDS[0]))

    def lacking(self) -> dict[str, Path]:
        """Backbones that the space offers and whose weights are not available, with the file that each waits for."""
        offered = self.dimensions.get("backbone", {}).get("choices", [])
        if self.source == "imagenet" or self.overrides.get("weights") == "random" or not offered:
            return {}  # those of torchvision are downloaded in their time
        from milair.model import zoo  # torch, which a search does without

        files = {name: zoo.file(name, self.source) for name in offered}
        return {name: file for name, file in files.items() if not file.is_file()}

    def with_frames(self, frames: Frames) -> Self:
        """What these settings are with these frames: the same, if they are the study's."""
        split = identity(frames.labelled, self.split_kind)
        return replace(self, fingerprint=fingerprint(frames.labelled), split=split)

    def refuse_difference(
        self, run: "Settings", study: str, detail: str | None = None, names: Sequence[str] = _IDENTITY, so: str = _NEW
    ) -> None:
        """MilairError that names what differs between this study and a run; `detail` is the first label that does."""
        mine, other = self.to_json(), run.to_json()
        for name in names:
            if mine[name] != other[name]:
                what = detail if name == "fingerprint" and detail else _difference(mine[name], other[name])
                raise MilairError(f"study {study} was made with other {_WORDS.get(name, name)}: {what}; {so}")


def new_settings(
    space: Space,
    data: str,
    frames: Frames,
    *,
    weights: str | None = None,
    views: int | None = None,
    overrides: Mapping[str, str] | None = None,
    only: Mapping[str, Sequence[str]] | None = None,
    limits: Mapping[str, str | float] | None = None,
    objects: str = OBJECTS[0],
    split: str | None = None,
    stored: Settings | None = None,
) -> Settings:
    """The settings of a run; what is left out is as in the `stored` study, else the default for that data.

    MilairError if an override is not a field of a recipe, or fixes what the space varies, if `only` names a choice
    that the space does not have, or `limits` a limit that there is not."""
    is_sample = data == SAMPLE
    narrowed = {name: list(choices) for name, choices in (only or (stored.only if stored else {})).items()}
    dimensions = space.narrowed(narrowed).dimensions()
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
    kind = split or (stored.split_kind if stored else space.split or default_kind(frames.labelled))
    if not is_kind(kind):
        raise MilairError(f"{space.path}: SPLIT = {kind!r}: there is no such split")
    several = has_folds(frames.labelled, kind)
    if several and "normalisation" not in dimensions and space.baseline.normalisation == "data":
        fixed = {"normalisation": "frames"} | fixed  # each fold's own statistics would make each fold's features anew
    for path in fixed:
        for name in dimensions:
            if name == path or name.startswith(f"{path}.") or path.startswith(f"{name.rpartition('.')[0]}."):
                raise UsageError(f"--set {path}: the space {space.name} varies {name}; --only {name}=VALUE narrows it")
    needed = most_views(space.baseline.override(fixed), dimensions)
    views = views or max(default_views, needed)
    if views < needed:
        raise UsageError(f"--views {views}: an epoch of {needed} views cannot be drawn from a bank of {views}")
    return Settings(
        space=space.name,
        dimensions=dimensions,
        data=data,
        fingerprint=fingerprint(frames.labelled),
        source=source if source == "imagenet" else str(Path(source).resolve()),
        views=views,
        overrides=fixed,
        split=identity(frames.labelled, kind),
        only=narrowed,
        objects=objects,
        limits=checked(limits or (stored.limits if stored else {})),
        training=TRAINING,
    )


def most_views(recipe: Recipe, dimensions: Mapping[str, Any]) -> int:
    """The most views of a picture that an epoch of any trial draws."""
    domain = dimensions.get("augmentations", {"choices": [recipe.augmentations]})
    return int(max(domain.get("choices") or domain["int"]))


def _difference(mine: Any, other: Any) -> str:
    """Two values, cut down to the keys in which they differ."""
    if isinstance(mine, dict) and isinstance(other, dict):
        keys = sorted(key for key in mine.keys() | other.keys() if mine.get(key) != other.get(key))
        return ", ".join(f"{key} {mine.get(key, 'free')}, now {other.get(key, 'free')}" for key in keys)
    return f"{mine}, now {other}"
