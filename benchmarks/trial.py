"""A training on the bank against the loop that people write, the best loop without a bank, and the machine's limit.

The loop that people write: a DataLoader decodes and augments each picture, the frozen backbone and the heads run on it,
and the validation pictures pass as well, every epoch anew. The best loop: pictures are decoded once and stay in memory,
the backbone is channels-last in inference mode with as many pictures at once as is quickest, the optimizer is fused.
All train the same recipe on the same frames, in this one process. A trial of theirs is so many of their epochs.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from lines import Line, seconds, turns
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from milair.features.bank import Bank, open_bank
from milair.features.views import Views, apply, view
from milair.frames.frame import Frame, Frames, Split
from milair.frames.split import split
from milair.model import backbones, zoo
from milair.model.heads import Heads
from milair.model.preprocessing import Preprocessing
from milair.recipe import Recipe
from milair.training import losses
from milair.training.outputs import evaluate
from milair.training.train import learn, train
from milair.training.values import Epoch

EPOCHS = 25  # of a trial
MATRIX = 2048  # sides of the matrices whose product tells the machine's rate


class Pictures(Dataset[tuple[Tensor, int, Tensor]]):
    """Each picture in so many views, or as it is; decoded whenever it is asked for."""

    def __init__(self, frames: tuple[Frame, ...], classes: tuple[str, ...], size: tuple[int, int], views: int) -> None:
        self.frames, self.classes, self.views = frames, classes, views
        self.preprocessing = Preprocessing(size)

    def __len__(self) -> int:
        return len(self.frames) * max(1, self.views)

    def __getitem__(self, index: int) -> tuple[Tensor, int, Tensor]:
        frame = self.frames[index % len(self.frames)]
        number = 1 + index // len(self.frames) if self.views else 0
        shown = apply(view(frame.picture.content, number), self.pixels(frame).float() / 255)
        return shown, self.classes.index(frame.label), torch.tensor(frame.box)

    def pixels(self, frame: Frame) -> Tensor:
        return self.preprocessing.decode(frame.path)


class Decoded(Pictures):
    """The same, decoded once."""

    @cached_property
    def kept(self) -> dict[Path, Tensor]:
        return {frame.path: self.preprocessing.decode(frame.path) for frame in self.frames}

    def pixels(self, frame: Frame) -> Tensor:
        return self.kept[frame.path]


@dataclass
class Loop:
    """A loop without a bank."""

    recipe: Recipe
    bank: Bank  # of which it takes classes, mean and standard deviation
    backbone: nn.Module
    pictures: Pictures
    validation: Pictures
    workers: int = 2
    at_once: int | None = None  # pictures in one pass of the backbone; None: the batch
    inference: bool = False
    fused: bool = False

    @property
    def device(self) -> torch.device:
        return self.bank.train.rows.device

    def __post_init__(self) -> None:
        self.heads = Heads(self.recipe, self.bank.shape, len(self.bank.classes)).to(self.device)
        self.backbone.to(self.device)
        self.optimizer = torch.optim.Adam(
            self.heads.parameters(),
            lr=self.recipe.learning_rate,
            weight_decay=self.recipe.weight_decay,
            fused=self.fused,
        )
        self.preprocessing = Preprocessing(self.recipe.size, self.bank.mean, self.bank.std)

    def features(self, pictures: Tensor) -> Tensor:
        normal = self.preprocessing.normalise(pictures.to(self.device))
        if self.inference:
            normal = normal.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(self.inference):
            parts = [self.backbone(part) for part in torch.split(normal, self.at_once or len(normal))]
            features = torch.cat(parts)
        return features.clone() if self.inference else features

    def epoch(self) -> None:
        self.heads.train()
        size = self.recipe.batch_size
        for pictures, labels, boxes in DataLoader(self.pictures, size, shuffle=True, num_workers=self.workers):
            logits, predicted = self.heads(self.features(pictures))
            self.optimizer.zero_grad()
            loss = losses.weighted(self.recipe, logits, predicted, labels.to(self.device), boxes.to(self.device))
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(self.heads.parameters(), 1.0)
            self.optimizer.step()
        self.heads.eval()
        with torch.no_grad():
            for pictures, _, _ in DataLoader(self.validation, size, num_workers=self.workers):
                self.heads(self.features(pictures))


def best_at_once(backbone: nn.Module, size: tuple[int, int]) -> int:
    """How many pictures in one pass are quickest."""
    (width, height), device = size, next(backbone.parameters()).device

    def each(count: int) -> float:
        pictures = torch.rand(count, 3, height, width, device=device).contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            return min(seconds(lambda: backbone(pictures)) for _ in range(3)) / count

    return min((1, 2, 4, 8, 16, 32), key=each)


def opened(
    recipe: Recipe, frames: Frames, source: str, folder: str, device: str, views: int = 12
) -> tuple[Split, Bank]:
    parts = split(frames.labelled)
    bank = open_bank(
        *(recipe, parts, frames.classes),
        frames=frames.labelled,
        views=views,
        source=source,
        folder=Path(folder),
        device=torch.device(device),
    )
    return parts, bank


def loops(recipe: Recipe, parts: Split, bank: Bank, source: str) -> tuple[Loop, Loop]:
    """As people write it, and the best without a bank."""
    state = None if recipe.weights == "random" else zoo.load_state(recipe.backbone, source)
    people = Loop(recipe, bank, backbones.build(recipe.feature_map, state), *_sets(Pictures, parts, bank, recipe))
    fast = backbones.build(recipe.feature_map, state).to(bank.train.rows.device)
    fast = fast.to(memory_format=torch.channels_last)
    best = Loop(
        *(recipe, bank, fast, *_sets(Decoded, parts, bank, recipe)),
        workers=0,  # what a worker sends through a pipe costs more than the view
        at_once=best_at_once(fast, recipe.size),
        inference=True,
        fused=True,
    )
    best.epoch()  # decodes
    return people, best


def recipe_for(source: str) -> Recipe:
    """The document's best."""
    return Recipe(weights="random" if source == "random" else "pretrained", epochs=EPOCHS, patience=EPOCHS)


def lines(frames: Frames, source: str, n: int = 3, device: str = "cpu") -> Iterator[Line]:
    recipe = recipe_for(source)
    with TemporaryDirectory() as folder:
        building = seconds(lambda: opened(recipe, frames, source, folder, device))
        parts, bank = opened(recipe, frames, source, folder, device)
        people, best = loops(recipe, parts, bank, source)

        def trial() -> None:
            for _ in train(recipe, opened(recipe, frames, source, folder, device)[1], torch.device(device)):
                pass

        warm, written, without = [], [], []
        for _ in range(n):
            warm.append(seconds(trial))
            written.append(EPOCHS * seconds(people.epoch))
            without.append(EPOCHS * seconds(best.epoch))
        cold = [building + time for time in warm]
        yield Line("a warm trial of 25 epochs", "the loop as people write it", warm, written)
        yield Line(
            "a warm trial of 25 epochs", "the best loop without a bank", warm, without, note=f"{best.at_once} at once"
        )
        yield Line("a cold trial of 25 epochs", "the loop as people write it", cold, written, note="extracts 12 views")
        yield Line("a cold trial of 25 epochs", "the best loop without a bank", cold, without)
        yield from _limits(recipe, parts, bank, n)
        if device != "cpu":
            yield against_cpu(recipe, bank, opened(recipe, frames, source, folder, "cpu")[1], n)


def against_cpu(recipe: Recipe, bank: Bank, on_cpu: Bank, n: int) -> Line:
    """An epoch on a bank's device, and one on the CPU."""

    def epochs(bank: Bank) -> Iterator[Epoch]:
        return train(replace(recipe, epochs=1000, patience=1000), bank, bank.train.labels.device)

    ours, theirs = epochs(bank), epochs(on_cpu)
    return Line("an epoch here", "on the CPU", *turns(lambda: next(ours), lambda: next(theirs), n))


def _sets(kind: type[Pictures], parts: Split, bank: Bank, recipe: Recipe) -> tuple[Pictures, Pictures]:
    training = kind(parts.train, bank.classes, recipe.size, recipe.augmentations)
    return training, kind(parts.val, bank.classes, recipe.size, 0)


def _limits(recipe: Recipe, parts: Split, bank: Bank, n: int) -> Iterator[Line]:
    """Extraction, a training step and an epoch against what the machine gives at most."""
    extract = bank.extract
    assert extract is not None
    some = [(number, frame) for frame in parts.train[:8] for number in range(1, 9)]
    kind = Views(extract.preprocessing)

    def extraction() -> None:
        for first in range(0, len(some), 32):
            extract(torch.stack([kind.show(frame, number) for number, frame in some[first : first + 32]]))

    at_once = best_at_once(extract.backbone, recipe.size)
    (width, height), device = recipe.size, extract.device
    pictures = torch.rand(at_once, 3, height, width, device=device).contiguous(memory_format=torch.channels_last)

    def passes() -> None:
        with torch.inference_mode():
            for _ in range(len(some) // at_once):
                extract.backbone(pictures)

    ours, bare = turns(extraction, passes, n)
    yield Line("the backbone's bare pass of 64 views", "their extraction", bare, ours)

    heads, trained = (Heads(recipe, bank.shape, len(bank.classes)).to(device) for _ in range(2))
    optimizer = torch.optim.Adam(heads.parameters(), lr=recipe.learning_rate, fused=True)
    count = len(parts.train) * recipe.augmentations
    features = bank.train.rows[: recipe.batch_size].clone()
    labels, boxes = torch.zeros(recipe.batch_size, dtype=torch.int64), torch.rand(recipe.batch_size, 4)
    labels, boxes = labels.to(device), boxes.to(device)
    epochs = learn(replace(recipe, epochs=1000), trained, bank.train, device)

    def steps() -> None:
        heads.train()
        for _ in range(count // recipe.batch_size):
            optimizer.zero_grad()
            logits, predicted = heads(features)
            torch.autograd.backward(losses.weighted(recipe, logits, predicted, labels, boxes))
            nn.utils.clip_grad_norm_(heads.parameters(), 1.0)
            optimizer.step()

    ours, bare = turns(lambda: next(epochs), steps, n)
    yield Line("bare steps on one batch in memory", "an epoch's steps", bare, ours)
    validation = [seconds(lambda: evaluate(heads, bank.val)) for _ in range(n)]
    left, right = torch.randn(2, MATRIX, MATRIX, device=device)
    rate = 2 * MATRIX**3 / min(seconds(lambda: left @ right) for _ in range(10))
    least = _multiplications(recipe, bank) * count / rate
    yield Line("an epoch's arithmetic at the rate of a matrix product", "an epoch's steps", [least], ours)
    yield Line("an epoch's steps", "its validation besides", ours, validation)


def _multiplications(recipe: Recipe, bank: Bank) -> int:
    """Operations of one view's step: forward once, backward twice, but not to the features."""
    work = 0
    for layer in Heads(recipe, bank.shape, len(bank.classes)).modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            places = bank.shape[1] * bank.shape[2] if isinstance(layer, nn.Conv2d) else 1
            work += 2 * layer.weight.numel() * places * (2 if layer.weight.shape[1] == bank.shape[0] else 3)
    return work
