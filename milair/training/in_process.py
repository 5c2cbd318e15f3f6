"""Training in this process: a trainer takes a recipe and yields what its training tells. It knows no study.

This one trains in its own process. A worker process has one of these, and hands on what it yields.
"""

import gc
import math
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import torch
from torch import nn

from milair.errors import first_line
from milair.features import bank
from milair.features.bank import Bank
from milair.frames.frame import Frame
from milair.model import backbones, heads, zoo
from milair.model.detector import Detector
from milair.model.heads import Heads
from milair.model.preprocessing import opened
from milair.recipe import Recipe
from milair.training import devices
from milair.training.latency import latency
from milair.training.outputs import evaluate, predicted
from milair.training.train import new_heads, refuse, train
from milair.training.values import Hopeless, Inputs, Needs, News, Opened, Trained, Training


@dataclass
class Trainer:
    """Trains on one device of this machine."""

    inputs: Inputs
    device: torch.device
    progress: Callable[[str, int, int], None] = lambda *_: None  # of features: what, done, total
    _bank: tuple[object, Bank] | None = field(default=None, repr=False)  # the one last used stays open

    def train(self, training: Training) -> Iterator[News]:
        """The bank, the epochs, and the model if it is to be kept; closing it ends the training.

        Hopeless if it cannot come to anything; out of memory is that too, and leaves the memory as it was."""
        recipe = training.recipe
        refuse(recipe)  # before features are computed for minutes
        try:
            needed, limit = self.memory_needed(training), devices.memory(self.device)
            if needed > limit:
                raise Hopeless(
                    f"not started: it needs about {needed / 1e9:.1f} GB, and {self.device} has {limit / 1e9:.1f} GB"
                )
            data = self.bank(training)
            looks = new_heads(recipe, data, self.device)
            yield self._opened(training, data, looks)
            if self.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(self.device)
            heads, best = nn.ModuleList(looks), None
            for epoch in train(recipe, data, self.device, looks):
                if training.keep == "best" and epoch.improved:
                    best = deepcopy(heads.state_dict())
                yield epoch
            if training.keep:
                heads.load_state_dict(best or heads.state_dict())
                yield self._trained(training, data, looks)
        except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
            if not (isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)):
                raise
            reason = f"out of memory: {first_line(error)}"
        else:
            return
        gc.collect()  # here the error, which holds the heads, is gone
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        raise Hopeless(reason)

    def bank(self, training: Training) -> Bank:
        """The bank that a training draws from."""
        recipe = training.recipe
        crops = recipe.crop_size if recipe.looks == 2 else None
        key = (recipe.feature_map, recipe.weights, recipe.normalisation, recipe.image_size, crops, training.split)
        if self._bank is None or self._bank[0] != key:
            self._bank = None  # closed before another one is opened
            inputs = self.inputs
            self._bank = (
                key,
                bank.open_bank(
                    recipe,
                    training.split,
                    inputs.classes,
                    frames=inputs.frames,
                    views=inputs.views,
                    source=inputs.source,
                    folder=inputs.folder,
                    device=self.device,
                    progress=self.progress,
                    gigabytes=inputs.quota,
                ),
            )
        return self._bank[1]

    def needs(self, training: Training) -> Needs:
        """MilairError as of `weights`."""
        self.weights(training.recipe)
        return Needs(self.bank_bytes(training), self.memory_needed(training))

    def weights(self, recipe: Recipe) -> str:
        """The fingerprint of a recipe's weights. MilairError if they or the backbone are not available, or if it cannot
        be trained."""
        refuse(recipe)
        backbones.measure(recipe.feature_map, recipe.size)
        pretrained = recipe.weights == "pretrained"
        return zoo.fingerprint(zoo.load_state(recipe.backbone, self.inputs.source) if pretrained else None)

    def bank_bytes(self, training: Training) -> int:
        """Of the features that a training draws from, on disk."""
        whole, *crops = (4 * math.prod(shape) for shape in heads.shapes(training.recipe))
        return whole * self.views(training) + sum(crops) * self.inputs.views * len(self._augmented(training))

    def views(self, training: Training) -> int:
        """How many a bank holds, without the crops of a second look."""
        plain = len(training.split.val) if training.recipe.normalisation == "data" else 0
        return len(self._augmented(training)) * (self.inputs.views + 1) + plain

    def _augmented(self, training: Training) -> tuple[Frame, ...]:
        """Under "data" another split has other statistics, and with them a bank of its own."""
        return training.split.train if training.recipe.normalisation == "data" else self.inputs.frames

    def memory_needed(self, training: Training) -> int:
        """Bytes on the device, about: a GPU holds the bank, a CPU reads it from the disk as it goes."""
        features = self.bank_bytes(training) if self.device.type == "cuda" else 0
        return features + heads.training_bytes(training.recipe, len(self.inputs.classes))

    def _opened(self, training: Training, data: Bank, looks: Sequence[Heads]) -> Opened:
        """Weights do not matter to the time that a model takes, so it is measured before they are trained."""
        recipe, model = training.recipe, _model(training, data, looks)
        return Opened(
            weights=data.weights,
            views=self.views(training),
            pictures=len(self.inputs.frames),
            computed=data.computed,
            megabytes=data.megabytes,
            folder=str(data.folder),
            parameters=heads.size(recipe, len(data.classes)).to_json(),
            ms=round(latency(model, opened(training.split.val[0].picture)), 2),
            device=torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type,
            threads=torch.get_num_threads(),
        )

    def _trained(self, training: Training, data: Bank, looks: Sequence[Heads]) -> Trained:
        """By one look its outputs come of the bank, by two of the pictures."""
        if len(looks) == 1:
            outputs = evaluate(looks[0], data.val)
        else:
            outputs = predicted(_model(training, data, looks), [frame.picture for frame in training.split.val])
        heads = [{name: value.cpu().numpy() for name, value in look.state_dict().items()} for look in looks]
        return Trained(heads, data.mean, data.std, outputs.logits.cpu().numpy(), outputs.boxes.cpu().numpy())


def _model(training: Training, data: Bank, looks: Sequence[Heads]) -> Detector:
    assert data.extract is not None
    first, *second = looks
    extract = data.extract
    return Detector(extract.preprocessing, extract.backbone, first, training.recipe, data.classes, *second)
