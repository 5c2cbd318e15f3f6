"""Training a recipe's heads on a bank: a generator of epochs that has never heard of a study."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from milair.errors import MilairError
from milair.features.bank import Bank, Part
from milair.model.heads import Heads
from milair.recipe import Recipe
from milair.training import devices, losses, metrics
from milair.training.optimisation import Optimisation
from milair.training.values import Epoch, Metrics, Row

_EVALUATE = 512  # pictures in one forward pass of an evaluation


@dataclass(frozen=True, slots=True)
class Outputs:
    """Outputs of heads for pictures: class logits [n, classes] and boxes [n, 4] in shares (0 to 1)."""

    logits: Tensor
    boxes: Tensor

    def metrics(self, part: Part, alpha: float) -> Metrics:
        """Means over the part's plain pictures."""
        return metrics.mean(metrics.per_image(self.logits, self.boxes, part.labels, part.boxes[0]), alpha)

    def rows(self) -> list[Row]:
        """Of each picture the class's number, its probability and the box, to five digits."""
        probability, label = self.logits.double().softmax(1).max(1)
        rows = torch.cat([label[:, None], probability[:, None], self.boxes.double()], dim=1).tolist()
        return [[int(row[0]), *(round(value, 5) for value in row[1:])] for row in rows]


def new_heads(recipe: Recipe, bank: Bank, device: torch.device) -> Heads:
    """The heads of a recipe as its seed draws them."""
    with _seeded(recipe.seed, 0, device):
        return Heads(recipe, bank.shape, len(bank.classes)).to(device)


def train(recipe: Recipe, bank: Bank, device: torch.device, heads: Heads | None = None) -> Iterator[Epoch]:
    """Train heads for `recipe.epochs`; without a schedule until the validation loss has not fallen for `patience`.

    `heads` are `new_heads`, for those who want to have them after an epoch: as they were validated then.
    MilairError if the bank has too few views.
    """
    if recipe.augmentations > bank.train.views:
        raise MilairError(f"an epoch of {recipe.augmentations} views cannot be drawn from a bank of {bank.train.views}")
    if device.type == "cuda":
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    heads = heads or new_heads(recipe, bank, device)
    best, best_number, start = None, 0, perf_counter()
    for number, training in enumerate(learn(recipe, heads, bank.train, device), 1):
        outputs = evaluate(heads, bank.val)
        val = outputs.metrics(bank.val, recipe.alpha)
        if best is None or recipe.scheduled or val.loss < best.loss or math.isnan(best.loss):
            best, best_number = val, number
        rows = outputs.rows() if best_number == number else None
        passes, seconds = number * recipe.augmentations, perf_counter() - start
        yield Epoch(number, passes, training, val, best, best_number, rows, seconds, devices.peak_memory(device))
        if number - best_number >= recipe.patience:
            return
        start = perf_counter()


def learn(recipe: Recipe, heads: Heads, part: Part, device: torch.device) -> Iterator[Metrics]:
    """Train heads on a part, epoch by epoch; after each they hold the weights to validate, with `ema` the averaged.

    Every epoch sees each picture in `recipe.augmentations` different views out of the part's. Each epoch seeds itself,
    so that the same recipe on the same kind of device with the same number of threads gives the same numbers,
    whatever else the process did in between.
    """
    batches = len(_cuts(len(part) * recipe.augmentations, recipe.batch_size)) + 1
    optimisation = Optimisation(heads, recipe, recipe.epochs * batches)
    for number in range(1, recipe.epochs + 1):
        with _seeded(recipe.seed, number, device):
            training = _epoch(optimisation, recipe, part)
        yield training


def evaluate(heads: Heads, part: Part) -> Outputs:
    """Outputs for the plain pictures of a part."""
    heads.eval()
    with torch.inference_mode():
        outputs = [heads(part.rows.index_select(0, index)) for index in torch.split(part.index[0], _EVALUATE)]
        return Outputs(*(torch.cat(output) for output in zip(*outputs, strict=True)))


def _epoch(optimisation: Optimisation, recipe: Recipe, part: Part) -> Metrics:
    optimisation.learner.train()
    seen = []
    for views, pictures in _batches(part, recipe.augmentations, recipe.batch_size):
        features = part.rows.index_select(0, part.index[views, pictures])
        boxes, labels = part.boxes[views, pictures], part.labels[pictures]
        logits, predicted = optimisation.learner(features)
        optimisation.step(losses.weighted(recipe, logits, predicted, labels, boxes))
        seen.append((logits.detach(), predicted.detach(), labels, boxes))
    rows = metrics.per_image(*(torch.cat(batches) for batches in zip(*seen, strict=True)))
    return metrics.mean(rows, recipe.alpha)


def _batches(part: Part, augmentations: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch as batches of (view, picture) indices: each picture in `augmentations` different views, shuffled.

    Drawn on the CPU, so that every device draws the same."""
    count = len(part)
    views = torch.rand(count, part.views).argsort(1)[:, :augmentations].flatten() + 1
    pictures = torch.arange(count).repeat_interleave(augmentations)
    order = torch.randperm(len(views))
    device = part.labels.device
    views, pictures = views[order].to(device), pictures[order].to(device)
    views = views * part.seen[views, pictures]  # view 0 where the object has left the view
    cuts = _cuts(len(views), batch_size)
    return zip(torch.tensor_split(views, cuts), torch.tensor_split(pictures, cuts), strict=True)


def _cuts(views: int, batch_size: int) -> list[int]:
    """Where batches begin, after the first. A last batch of one joins the one before it: BatchNorm needs two."""
    return list(range(batch_size, views - 1, batch_size))


@contextmanager
def _seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """A block whose random numbers depend on seed and epoch alone, and that leaves the generators as it found them."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed((seed << 20) + epoch)
        yield
