"""A recipe is one complete training, as a frozen value: plain data, no torch, no Optuna.

Two recipes that are equal train the same model. JSON goes both ways, and a dotted path into that JSON
(`alpha`, `cls_head.blocks`) is the name by which a search space asks for a value and `--set` overrides one.
The types are the rules: MilairError names the field, its value and the rule in one line.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, field, fields
from functools import partial, wraps
from typing import Annotated, Any, Literal, NamedTuple, Self, TypeVar

from pydantic import AfterValidator, ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from milair.errors import MilairError, UsageError

T = TypeVar("T")


def _held(holds: Callable[[str], object], rule: str, text: str) -> str:
    """A text for whose rule pydantic has no constraint; refused in the words that its own are refused in."""
    if not holds(text):
        raise ValueError(f"it should be {rule}")
    return text


_Widths = Annotated[
    str,
    Field(strict=True),
    AfterValidator(
        partial(
            _held,
            re.compile(r"([1-9][0-9]{0,3}(-[1-9][0-9]{0,3})*)?").fullmatch,
            "whole numbers from 1 to 9999 joined by '-', such as '768-256'",
        )
    ),
]
_Grid = Annotated[
    str,
    AfterValidator(
        partial(
            _held,
            re.compile(r"full|[1-9][0-9]?x[1-9][0-9]?").fullmatch,
            "'full' or 'COLUMNSxROWS' with sides from 1 to 99, such as '7x7'",
        )
    ),
]
_ImageSize = Annotated[
    str,
    AfterValidator(
        partial(
            _held,
            lambda text: (
                re.fullmatch("[1-9][0-9]+x[1-9][0-9]+", text)
                and all(32 <= int(side) <= 4096 for side in text.split("x"))
            ),
            "'WIDTHxHEIGHT' with sides from 32 to 4096, such as '400x255'",
        )
    ),
]


def _refused_in_one_line(cls: type[T]) -> type[T]:
    """A pydantic dataclass that raises MilairError, of one line, where pydantic raises ValidationError."""
    validate: Callable[..., None] = cls.__init__

    @wraps(validate)
    def init(self: T, *positional: Any, **named: Any) -> None:
        try:
            validate(self, *positional, **named)
        except ValidationError as error:
            raise MilairError(f"recipe: {_line(cls, error)}") from error

    cls.__init__ = init  # type: ignore[method-assign, assignment]
    return cls


def _line(cls: Any, error: ValidationError) -> str:
    """The first refusal: where it is ("cls_head.blocks"), the value and the rule."""
    first, heads = error.errors(include_url=False)[0], _HEADS
    # pydantic names a positional argument by its number, and a head's type before its field
    names: dict[Any, str] = dict(enumerate(item.name for item in fields(cls) if not item.kw_only))
    path = ".".join(names.get(part, str(part)) for part in first["loc"] if part not in heads)
    if "unexpected" in first["type"]:
        owner: Any = heads.get(str(first["loc"][-2:][0]), cls)
        return f"there is no field '{path}'; a {owner.__name__} has {', '.join(item.name for item in fields(owner))}"
    head = "be a LinearHead, a ConvHead or a DenseHead, in JSON an object with a type, 'linear', 'conv' or 'dense'"
    rule = head if path in ("cls_head", "reg_head") else first["msg"].partition(" should ")[2]
    return f"{path} is {first['input']!r}; it must {rule}"


@_refused_in_one_line
@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class LinearHead:
    """Flattened features, Dropout(0.5), then Linear + BatchNorm + ReLU per width, then Linear to the outputs.

    `widths` are the hidden layers from input to output, "768-256"; "" goes straight to the outputs.
    """

    type: Literal["linear"] = field(default="linear", kw_only=True, repr=False)
    widths: _Widths = "256"

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(int(width) for width in self.widths.split("-") if width)

    def __str__(self) -> str:
        return f"linear {self.widths or 'direct'}"


@_refused_in_one_line
@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class ConvHead:
    """Blocks of Conv3x3 + BatchNorm + ReLU, then Conv1x1 to the outputs and a max over the map.

    No blocks: straight from the features.
    """

    type: Literal["conv"] = field(default="conv", kw_only=True, repr=False)
    blocks: Annotated[int, Field(strict=True, ge=0, le=64)] = 1
    filters: Annotated[int, Field(strict=True, ge=1, le=8192)] = 256

    def __str__(self) -> str:
        return f"conv {self.blocks}×{self.filters}" if self.blocks else "conv direct"


@_refused_in_one_line
@dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class DenseHead:
    """Conv1x1 to `channels` and blocks of Conv3x3, each with BatchNorm and ReLU, then an answer from every cell.

    A cell answers with class logits or with the distances from its centre to the four sides of the box, and with a
    weight; the weights' softmax over the map gives the mean. `dropout` drops channels before the answers. `cells`
    is the side of the square map that the features are averaged to first; 0: as they are.
    """

    type: Literal["dense"] = field(default="dense", kw_only=True, repr=False)
    channels: Annotated[int, Field(strict=True, ge=1, le=8192)] = 128
    blocks: Annotated[int, Field(strict=True, ge=0, le=16)] = 2
    dropout: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.0
    cells: Annotated[int, Field(strict=True, ge=0, le=99)] = 0

    def __str__(self) -> str:
        return f"dense {self.blocks}×{self.channels}"


Head = LinearHead | ConvHead | DenseHead
_HEADS: dict[Any, Any] = {"linear": LinearHead, "conv": ConvHead, "dense": DenseHead}


class FeatureMap(NamedTuple):
    """What decides how a frozen backbone makes features of pictures, whatever their size: fields of a recipe."""

    backbone: str
    pooling: str
    grid: str = "7x7"
    stages: int = 1


@_refused_in_one_line
@dataclass(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True))
class Recipe:
    """One training, complete. The defaults are the document's best run, but for its normalisation ("data").

    `backbone` is a torchvision classification model, or "timm:NAME" one of timm's. `pooling` "grid" averages its last
    map to `grid`, 7x7 cells ("full": as the picture's size makes it), "global" to 1x1, "own" does as the document did:
    the model's `avgpool`, else the grid. With two `stages` the map before it, of twice the resolution, is added to its
    channels. `normalisation` scales pictures by ImageNet's statistics, by those of the training frames ("data") or of
    all labelled frames ("frames"). An epoch sees each training picture in `augmentations` views.

    The loss is (1 - alpha) * (cross-entropy with `label_smoothing`) + alpha * (box loss): 1 - IoU, GIoU or CIoU, plus
    `l1` times the mean distance of the box's sides. With a constant learning rate, `patience` epochs without a lower
    validation loss end the training, and its score is that of the epoch with the lowest. A schedule (cosine, or
    one-cycle) goes through all `epochs`, of which a share of `warmup` comes first, and the last one's score counts.
    `ema` is the decay, for each step, of an exponential moving average of the weights, which is then what is validated.

    With two `looks` (a cascade) a second pair of heads learns on square crops about the object, `crop_size` pixels a
    side. To predict, it sees a crop of `crop_margin` times the longer side of the box so far, `iterations` times;
    `decides` says whose class counts.
    """

    backbone: Annotated[str, Field(min_length=1)] = "squeezenet1_0"
    weights: Literal["pretrained", "random"] = "pretrained"
    pooling: Literal["grid", "global", "own"] = "grid"
    normalisation: Literal["imagenet", "data", "frames"] = "imagenet"
    grid: _Grid = "7x7"  # columns x rows
    stages: Annotated[int, Field(ge=1, le=2)] = 1
    image_size: _ImageSize = "400x255"  # width x height in pixels
    augmentations: Annotated[int, Field(ge=1, le=1000)] = 6
    cls_head: Annotated[Head, Field(discriminator="type")] = ConvHead(blocks=1, filters=256)
    reg_head: Annotated[Head, Field(discriminator="type")] = ConvHead(blocks=4, filters=256)
    alpha: Annotated[float, Field(ge=0, le=1)] = 0.7
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    box_loss: Literal["iou", "giou", "ciou"] = "iou"
    l1: Annotated[float, Field(ge=0, le=100)] = 0.0
    optimizer: Literal["adam", "adamw"] = "adam"
    schedule: Literal["constant", "cosine", "onecycle"] = "constant"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-4
    weight_decay: Annotated[float, Field(ge=0, le=1)] = 1e-6
    batch_size: Annotated[int, Field(ge=2, le=65536)] = 32  # BatchNorm needs two
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 200
    patience: Annotated[int, Field(ge=1, le=100_000)] = 10
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 32
    looks: Annotated[int, Field(ge=1, le=2)] = 1
    crop_size: Annotated[int, Field(ge=32, le=4096)] = 320
    crop_margin: Annotated[float, Field(ge=1, le=4)] = 1.6
    iterations: Annotated[int, Field(ge=1, le=10)] = 2
    decides: Literal["first", "second", "mean"] = "mean"

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        width, height = self.image_size.split("x")
        return int(width), int(height)

    @property
    def feature_map(self) -> FeatureMap:
        return FeatureMap(self.backbone, self.pooling, self.grid, self.stages)

    @property
    def scheduled(self) -> bool:
        """Whether its learning rate follows a schedule, at whose end it is scored."""
        return self.schedule != "constant"

    @property
    def all_epochs(self) -> int:
        """Those of all looks together, if nothing ends them sooner."""
        return self.epochs * self.looks

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """The recipe that `to_json` wrote; fields left out keep their defaults. MilairError names a bad one."""
        return cls(**values)

    def by_path(self) -> dict[str, Any]:
        """Every value by its dotted path: {"alpha": 0.7, "cls_head": {...}, "cls_head.blocks": 1, ...}."""
        values = self.to_json()
        heads = {name: value for name, value in values.items() if isinstance(value, dict)}
        return values | {f"{name}.{key}": value for name, head in heads.items() for key, value in head.items()}

    def differences(self, other: "Recipe") -> list[tuple[str, Any, Any]]:
        """The fields in which two recipes differ: each one's name, its value here, and the other's."""
        pairs = ((item.name, getattr(self, item.name), getattr(other, item.name)) for item in fields(self))
        return [pair for pair in pairs if pair[1] != pair[2]]

    def override(self, settings: Mapping[str, str]) -> "Recipe":
        """This recipe with fields set from text, as `--set` gives them: {"alpha": "0.5", "cls_head.blocks": "2"}.

        UsageError for a path that is none, or a text of another type; MilairError for a value against the rules."""
        recipe = self
        for path, text in settings.items():
            values = recipe.by_path()
            if path not in values:
                raise UsageError(f"--set {path}={text}: a recipe has no field '{path}'; it has {', '.join(values)}")
            kind = type(values[path])
            try:
                value = json.loads(text) if kind is dict else kind(text)
            except ValueError:
                kinds = 'JSON, as {"type": "conv"}' if kind is dict else f"a value of type {kind.__name__}"
                raise UsageError(f"--set {path}={text}: {path} takes {kinds}") from None
            name, _, key = path.partition(".")
            recipe = Recipe.from_json(recipe.to_json() | {name: values[name] | {key: value} if key else value})
        return recipe


_SEEN = re.compile(r"_head\.(type|widths|blocks|filters|channels)$")  # parameters that a head's own text shows


def describe(recipe_json: Mapping[str, Any], parameters: Mapping[str, Any]) -> str:
    """What is particular about a trial: what its space varies, and the heads unless that is other things only."""
    recipe = Recipe.from_json(recipe_json)
    varied = {name: value for name, value in parameters.items() if not _SEEN.search(name)}
    if not parameters:  # of a reference, which no space gives
        varied = {name: value for name, value, _ in recipe.differences(Recipe(seed=recipe.seed)) if "_head" not in name}
    others = [f"{name} {f'{value:.4g}' if isinstance(value, float) else value}" for name, value in varied.items()]
    heads = (
        [f"cls {recipe.cls_head}", f"reg {recipe.reg_head}"] if len(varied) < len(parameters) or not parameters else []
    )
    return ", ".join([*heads, *others])
