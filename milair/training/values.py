"""What goes into a training and what it tells: plain values, light to import, that a process can hand to another."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from milair.errors import MilairError, OutsideError
from milair.frames.frame import Frame, Split
from milair.recipe import Recipe

if TYPE_CHECKING:
    import numpy as np

    Array = np.typing.NDArray[np.generic]

EPSILON = 1e-6  # in the union of two boxes, as in the document
Row = list[float]  # of a validation frame: the class's number, its probability, the box in shares


@dataclass(frozen=True, slots=True)
class Training:
    """What a trainer is asked for: a recipe, trained and validated on the halves of a split."""

    recipe: Recipe
    split: Split
    keep: Literal["", "best", "last"] = ""  # the epoch whose model is told as well, last of all
    threads: int = 0  # of the worker that trains it; 0: as many as it has


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that trainings of a study share: frames, views, weights, and where features are kept."""

    frames: tuple[Frame, ...]  # all labelled ones, whose features are kept
    classes: tuple[str, ...]
    views: int
    source: str  # of pretrained weights
    folder: Path  # of banks
    quota: float  # GB that all of them may take


@dataclass(frozen=True, slots=True)
class Metrics:
    """Means over images: losses ≥ 0, IoU and accuracy from 0 to 1."""

    loss: float
    cls_loss: float  # cross-entropy
    reg_loss: float  # 1 - IoU
    iou: float
    accuracy: float

    @property
    def score(self) -> float:
        """(mean IoU + accuracy) / 2, from 0 to 1."""
        return (self.iou + self.accuracy) / 2

    def to_json(self) -> dict[str, float]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Opened:
    """The bank of a recipe is open, its model is measured, and its training begins."""

    weights: str  # fingerprint of the backbone's
    views: int  # of all pictures together
    pictures: int
    computed: int  # views that had to be computed now
    megabytes: float  # on disk
    folder: str
    parameters: dict[str, float]  # total, trainable, MB
    ms: float  # to predict a frame
    device: str
    threads: int


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch came to. `best` is validation at the lowest validation loss so far; under a schedule, now."""

    number: int  # from 1
    passes: int  # over the training pictures so far: number x augmentations
    train: Metrics  # in training mode, with dropout
    val: Metrics
    best: Metrics
    best_number: int
    outputs: list[Row]  # for the validation frames, in their order
    seconds: float
    memory: tuple[float, float] = (0.0, 0.0)  # peak MB so far: of this process, of the GPU

    @property
    def improved(self) -> bool:
        return self.best_number == self.number

    @property
    def score(self) -> float:
        return self.best.score


@dataclass(frozen=True, slots=True)
class Trained:
    """The model of a training, but for its backbone, and its outputs for the validation frames."""

    heads: "list[dict[str, Array]]"  # of each look: parameters and buffers, by their names
    mean: tuple[float, ...]  # per channel, of pictures in 0–1
    std: tuple[float, ...]
    logits: "Array"  # float32 [n, classes]
    boxes: "Array"  # float32 [n, 4] in shares


class Hopeless(MilairError):
    """A training that cannot come to anything: too little memory, a loss that is not a number."""


@dataclass(frozen=True, slots=True)
class Features:
    """From a worker: features are being computed."""

    what: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Needs:
    """What a training takes, in bytes, before it begins."""

    features: int  # on disk
    memory: int  # on the device, about


@dataclass(frozen=True, slots=True)
class Ended:
    """From a worker, last of a task: what went wrong, if anything did."""

    kind: str = ""  # "hopeless", "outside" or "failed"
    reason: str = ""

    def check(self) -> None:
        """Raise what the worker met."""
        if self.kind:
            raise {"hopeless": Hopeless, "outside": OutsideError, "failed": MilairError}[self.kind](self.reason)


@dataclass(frozen=True, slots=True)
class Died:
    """Of a worker: its process is gone, and another one takes its place where there is one."""

    reason: str
    machine: bool = False  # it went with its machine, which says nothing against the training


@dataclass(frozen=True, slots=True)
class Joined:
    """Of a worker that was not there before: it waits for trainings."""


@dataclass(frozen=True, slots=True)
class Deserted:
    """No worker is there, and one is waited for. Told again and again."""


News = Opened | Epoch | Trained  # of a training
Aside = Needs | Joined | Deserted  # of no training
Told = News | Features | Ended | Died | Aside  # by a worker, or of it
