"""A recipe is one complete training, as a frozen value: plain data, no torch, no Optuna.

Two recipes that are equal train the same model. JSON goes both ways, and a dotted path into that JSON
(`alpha`, `cls_head.blocks`) is the name by which a search space asks for a value and `--set` overrides one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from milair.errors import MilairError, UsageError

_WIDTHS = re.compile(r"([1-9][0-9]{0,3}(-[1-9][0-9]{0,3})*)?")
_SIZE = re.compile(r"([1-9][0-9]*)x([1-9][0-9]*)")
_SMALLEST_SIDE, _LARGEST_SIDE = 32, 4096


@dataclass(frozen=True, slots=True)
class LinearHead:
    """Flattened features, Dropout(0.5), then Linear + BatchNorm + ReLU per width, then Linear to the outputs."""

    type: ClassVar[str] = "linear"
    widths: str = "256"  # hidden layers from input to output, "768-256"; "" goes straight to the outputs

    def __post_init__(self) -> None:
        _rule(
            isinstance(self.widths, str) and _WIDTHS.fullmatch(self.widths) is not None,
            "widths",
            self.widths,
            "whole numbers from 1 to 9999 joined by '-', such as '768-256'",
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(int(width) for width in self.widths.split("-") if width)

    def __str__(self) -> str:
        return f"linear {self.widths or 'direct'}"


@dataclass(frozen=True, slots=True)
class ConvHead:
    """Blocks of Conv3x3 + BatchNorm + ReLU, then Conv1x1 to the outputs and a max over the map."""

    type: ClassVar[str] = "conv"
    blocks: int = 1  # 0: straight from the features
    filters: int = 256

    def __post_init__(self) -> None:
        _rule(_whole(self.blocks, 0, 64), "blocks", self.blocks, "a whole number from 0 to 64")
        _rule(_whole(self.filters, 1, 8192), "filters", self.filters, "a whole number from 1 to 8192")

    def __str__(self) -> str:
        return f"conv {self.blocks}×{self.filters}" if self.blocks else "conv direct"


Head = LinearHead | ConvHead
_HEAD_FIELDS = ("cls_head", "reg_head")
_HEADS: dict[str, type[LinearHead] | type[ConvHead]] = {"linear": LinearHead, "conv": ConvHead}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One training, complete. The defaults are the document's best run, but for its normalisation ("data").

    `backbone` is a torchvision classification model; `pooling` "grid" brings its last map to 7x7, "global" averages
    it to 1x1, "own" does as the document did: the model's `avgpool`, else 7x7; `normalisation` scales pictures by
    ImageNet's or by the training set's own statistics. An epoch sees each training picture in `augmentations`
    views. The loss is (1 - alpha) * cross-entropy + alpha * (1 - mean IoU). `patience` epochs without a lower
    validation loss end the training.
    """

    backbone: str = "squeezenet1_0"
    weights: str = "pretrained"  # or "random"
    pooling: str = "grid"  # or "global", or "own"
    normalisation: str = "imagenet"  # or "data"
    image_size: str = "400x255"  # width x height in pixels
    augmentations: int = 6
    cls_head: Head = field(default_factory=lambda: ConvHead(blocks=1, filters=256))
    reg_head: Head = field(default_factory=lambda: ConvHead(blocks=4, filters=256))
    alpha: float = 0.7
    learning_rate: float = 1e-4
    weight_decay: float = 1e-6
    batch_size: int = 32
    epochs: int = 200
    patience: int = 10
    seed: int = 32

    def __post_init__(self) -> None:
        match = _SIZE.fullmatch(self.image_size) if isinstance(self.image_size, str) else None
        sides = [int(side) for side in match.groups()] if match else []
        for name, holds, rule in (
            ("backbone", isinstance(self.backbone, str) and self.backbone != "", "the name of a torchvision model"),
            ("weights", self.weights in ("pretrained", "random"), "'pretrained' or 'random'"),
            ("pooling", self.pooling in ("grid", "global", "own"), "'grid', 'global' or 'own'"),
            ("normalisation", self.normalisation in ("imagenet", "data"), "'imagenet' or 'data'"),
            (
                "image_size",
                bool(sides) and all(_SMALLEST_SIDE <= side <= _LARGEST_SIDE for side in sides),
                f"'WIDTHxHEIGHT' with sides from {_SMALLEST_SIDE} to {_LARGEST_SIDE}, such as '400x255'",
            ),
            ("augmentations", _whole(self.augmentations, 1, 1000), "a whole number from 1 to 1000"),
            ("cls_head", isinstance(self.cls_head, Head), "a LinearHead or a ConvHead"),
            ("reg_head", isinstance(self.reg_head, Head), "a LinearHead or a ConvHead"),
            ("alpha", _real(self.alpha) and 0 <= self.alpha <= 1, "a number from 0 to 1"),
            ("learning_rate", _real(self.learning_rate) and 0 < self.learning_rate <= 1, "above 0, at most 1"),
            ("weight_decay", _real(self.weight_decay) and 0 <= self.weight_decay <= 1, "a number from 0 to 1"),
            ("batch_size", _whole(self.batch_size, 2, 65536), "a whole number from 2 to 65536 (BatchNorm needs two)"),
            ("epochs", _whole(self.epochs, 1, 100_000), "a whole number from 1 to 100000"),
            ("patience", _whole(self.patience, 1, 100_000), "a whole number from 1 to 100000"),
            ("seed", _whole(self.seed, 0, 2**31 - 1), "a whole number from 0 to 2147483647"),
        ):
            _rule(holds, name, getattr(self, name), rule)
        for name in ("alpha", "learning_rate", "weight_decay"):  # 1 and 1.0 are one recipe, in JSON too
            object.__setattr__(self, name, float(getattr(self, name)))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        width, height = self.image_size.split("x")
        return int(width), int(height)

    def to_json(self) -> dict[str, Any]:
        heads: dict[str, Head] = {name: getattr(self, name) for name in _HEAD_FIELDS}
        return asdict(self) | {name: {"type": head.type, **asdict(head)} for name, head in heads.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Recipe:
        """The recipe that `to_json` wrote; fields left out keep their defaults. MilairError names a bad one."""
        known = [item.name for item in fields(cls)]
        for name in values:
            if name not in known:
                raise MilairError(f"recipe: there is no field '{name}'; the fields are {', '.join(known)}")
        heads: dict[str, Any] = {name: _head(name, values[name]) for name in _HEAD_FIELDS if name in values}
        return cls(**{**values, **heads})

    def differences(self, other: Recipe) -> list[tuple[str, Any, Any]]:
        """The fields in which two recipes differ: each one's name, its value here, and the other's."""
        pairs = [(item.name, getattr(self, item.name), getattr(other, item.name)) for item in fields(self)]
        return [(name, mine, theirs) for name, mine, theirs in pairs if mine != theirs]

    def override(self, settings: Mapping[str, str]) -> Recipe:
        """This recipe with fields set from text, as `--set` gives them: {"alpha": "0.5", "cls_head.blocks": "2"}."""
        values = self.to_json()
        for path, text in settings.items():
            target, leaf = values, path
            while "." in leaf:
                first, leaf = leaf.split(".", 1)
                target = target.get(first, {})
                if not isinstance(target, dict):
                    target = {}
            if leaf not in target:
                raise UsageError(f"--set {path}={text}: a recipe has no field '{path}'; it has {', '.join(values)}")
            target[leaf] = _parse(path, text, target[leaf])
            values = Recipe.from_json(values).to_json()  # a head set as a whole has all its fields for the next path
        return Recipe.from_json(values)


def _head(name: str, values: object) -> Head:
    if isinstance(values, Head):
        return values
    if not isinstance(values, Mapping) or values.get("type") not in tuple(_HEADS):
        raise MilairError(f"recipe: {name} is {values!r}; it must have a type, 'linear' or 'conv'")
    kind = _HEADS[values["type"]]
    arguments = {key: value for key, value in values.items() if key != "type"}
    known = [item.name for item in fields(kind)]
    for key in arguments:
        if key not in known:
            raise MilairError(f"recipe: {name} of type '{kind.type}' has no field '{key}'; it has {', '.join(known)}")
    return kind(**arguments)


def _parse(path: str, text: str, current: object) -> object:
    """Text as the kind of value that stands there now."""
    try:
        if isinstance(current, dict):
            return json.loads(text)
        return type(current)(text)  # type: ignore[call-arg]
    except ValueError:
        kind = "JSON" if isinstance(current, dict) else type(current).__name__
        raise UsageError(f"--set {path}={text}: {path} takes a value of type {kind}") from None


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _rule(holds: bool, name: str, value: object, rule: str) -> None:
    if not holds:
        raise MilairError(f"recipe: {name} is {value!r}; it must be {rule}")


def describe(recipe_json: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
    """What is particular about a trial: what its space varies, and the heads unless that is other things only."""
    recipe = Recipe.from_json(recipe_json)
    varied = {name: value for name, value in parameters.items() if "_head." not in name}
    others = [f"{name} {f'{value:.4g}' if isinstance(value, float) else value}" for name, value in varied.items()]
    heads = [f"cls {recipe.cls_head}", f"reg {recipe.reg_head}"] if len(varied) < len(parameters) or not varied else []
    return ", ".join([*heads, *others])
