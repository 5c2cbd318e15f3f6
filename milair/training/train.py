"""Training a recipe's heads on a bank: a generator of epochs that has never heard of a study."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor, nn

from milair.errors import MilairError
from milair.features.bank import Bank, Part
from milair.model.heads import Heads
from milair.recipe import Recipe
from milair.training import metrics
from milair.training.metrics import Metrics

_CLIP = 1.0  # gradient norm
_EVALUATE = 512  # pictures in one forward pass of an evaluation


@dataclass(frozen=True, slots=True)
class Answers:
    """What heads make of pictures: class logits [n, classes] and boxes [n, 4] in shares (0 to 1)."""

    logits: Tensor
    boxes: Tensor

    def metrics(self, part: Part, alpha: float) -> Metrics:
        """Means over the part's plain pictures, which these answer."""
        return metrics.mean(metrics.per_image(self.logits, self.boxes, part.labels, part.boxes[0]), alpha)


@dataclass(frozen=True, slots=True)
class Epoch:
    """What one epoch came to. `best` is validation at the epoch of the lowest validation loss so far."""

    number: int  # from 1
    passes: int  # over the training pictures so far: number x augmentations
    train: Metrics  # while learning, with dropout
    val: Metrics
    best: Metrics
    best_number: int
    answers: Answers  # to the validation pictures, at that epoch too
    seconds: float
    heads: Heads  # the live model: copy what you keep

    @property
    def improved(self) -> bool:
        return self.best_number == self.number

    @property
    def score(self) -> float:
        return self.best.score


def train(recipe: Recipe, bank: Bank, device: torch.device) -> Iterator[Epoch]:
    """Train heads until `recipe.epochs`, or until the validation loss has not fallen for `recipe.patience` epochs.

    Every epoch sees each training picture in `recipe.augmentations` different views out of the bank's. Each
    epoch seeds itself, so that the same recipe on the same kind of device with the same number of threads
    gives the same numbers, whatever else the process did in between. MilairError if the bank has too few views.
    """
    if recipe.augmentations > bank.train.views:
        raise MilairError(f"an epoch of {recipe.augmentations} views cannot be drawn from a bank of {bank.train.views}")
    _deterministic(device)
    with _seeded(recipe.seed, 0, device):
        heads = Heads(recipe, bank.shape, len(bank.classes)).to(device)
    optimizer = torch.optim.Adam(
        heads.parameters(),
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        fused=True,  # a step on the 20 million weights of a wide linear head takes a tenth of the time
    )
    best: tuple[Metrics, int, Answers] | None = None
    for number in range(1, recipe.epochs + 1):
        start = perf_counter()
        with _seeded(recipe.seed, number, device):
            learned = _learn(heads, optimizer, recipe, bank.train)
        answers = answer(heads, bank.val)
        val = answers.metrics(bank.val, recipe.alpha)
        if best is None or val.loss < best[0].loss or math.isnan(best[0].loss):
            best = val, number, answers
        passes = number * recipe.augmentations
        yield Epoch(number, passes, learned, val, *best, perf_counter() - start, heads)
        if number - best[1] >= recipe.patience:
            return


def answer(heads: Heads, part: Part) -> Answers:
    """What heads make of the plain pictures of a part."""
    heads.eval()
    with torch.inference_mode():
        outputs = [heads(part.rows.index_select(0, index)) for index in torch.split(part.index[0], _EVALUATE)]
        return Answers(*(torch.cat(output) for output in zip(*outputs, strict=True)))


def _learn(heads: Heads, optimizer: torch.optim.Optimizer, recipe: Recipe, part: Part) -> Metrics:
    heads.train()
    rows = []
    for views, pictures in _batches(part, recipe.augmentations, recipe.batch_size):
        features = part.rows.index_select(0, part.index[views, pictures])
        boxes, labels = part.boxes[views, pictures], part.labels[pictures]
        logits, predicted = heads(features)
        row = metrics.per_image(logits, predicted, labels, boxes)
        optimizer.zero_grad()
        torch.autograd.backward(metrics.loss(row[:, 0], row[:, 1], recipe.alpha))
        nn.utils.clip_grad_norm_(heads.parameters(), _CLIP)
        optimizer.step()
        rows.append(row.detach())
    return metrics.mean(torch.cat(rows), recipe.alpha)


def _batches(part: Part, augmentations: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch as batches of (view, picture) indices: each picture in `augmentations` different views, shuffled.

    Drawn on the CPU, so that every device draws the same. A last batch of one joins the batch before it,
    because BatchNorm needs two."""
    count = len(part)
    views = torch.rand(count, part.views).argsort(1)[:, :augmentations].flatten() + 1
    pictures = torch.arange(count).repeat_interleave(augmentations)
    order = torch.randperm(len(views))
    device = part.labels.device
    views, pictures = views[order].to(device), pictures[order].to(device)
    views = views * part.seen[views, pictures]  # view 0 where the object has left the view
    cuts = list(range(batch_size, len(views) - 1, batch_size))
    return zip(torch.tensor_split(views, cuts), torch.tensor_split(pictures, cuts), strict=True)


@contextmanager
def _seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """A block whose random numbers depend on seed and epoch alone, and that leaves the generators as it found them."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed((seed << 20) + epoch)
        yield


def _deterministic(device: torch.device) -> None:
    if device.type == "cuda":
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.benchmark = False
