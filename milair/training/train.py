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
from milair.training import devices, losses, metrics
from milair.training.values import Epoch, Metrics, Row

_CLIP = 1.0  # gradient norm
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
    """Train heads until `recipe.epochs`, or until the validation loss has not fallen for `recipe.patience` epochs.

    Every epoch sees each training picture in `recipe.augmentations` different views out of the bank's. Each
    epoch seeds itself, so that the same recipe on the same kind of device with the same number of threads
    gives the same numbers, whatever else the process did in between. `heads` are `new_heads`, for those who want
    to have them after an epoch. MilairError if the bank has too few views.
    """
    if recipe.augmentations > bank.train.views:
        raise MilairError(f"an epoch of {recipe.augmentations} views cannot be drawn from a bank of {bank.train.views}")
    if device.type == "cuda":
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    heads = heads or new_heads(recipe, bank, device)
    optimizer = torch.optim.Adam(
        heads.parameters(),
        lr=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        fused=True,  # a step on the 20 million weights of a wide linear head takes a tenth of the time
    )
    best, best_number = None, 0
    for number in range(1, recipe.epochs + 1):
        start = perf_counter()
        with _seeded(recipe.seed, number, device):
            training = _epoch(heads, optimizer, recipe, bank.train)
        outputs = evaluate(heads, bank.val)
        val = outputs.metrics(bank.val, recipe.alpha)
        if best is None or val.loss < best.loss or math.isnan(best.loss):
            best, best_number = val, number
        rows = outputs.rows() if best_number == number else None
        passes, seconds = number * recipe.augmentations, perf_counter() - start
        yield Epoch(number, passes, training, val, best, best_number, rows, seconds, devices.peak_memory(device))
        if number - best_number >= recipe.patience:
            return


def evaluate(heads: Heads, part: Part) -> Outputs:
    """Outputs for the plain pictures of a part."""
    heads.eval()
    with torch.inference_mode():
        outputs = [heads(part.rows.index_select(0, index)) for index in torch.split(part.index[0], _EVALUATE)]
        return Outputs(*(torch.cat(output) for output in zip(*outputs, strict=True)))


def _epoch(heads: Heads, optimizer: torch.optim.Optimizer, recipe: Recipe, part: Part) -> Metrics:
    heads.train()
    rows = []
    for views, pictures in _batches(part, recipe.augmentations, recipe.batch_size):
        features = part.rows.index_select(0, part.index[views, pictures])
        boxes, labels = part.boxes[views, pictures], part.labels[pictures]
        logits, predicted = heads(features)
        row = metrics.per_image(logits, predicted, labels, boxes)
        optimizer.zero_grad()
        torch.autograd.backward(losses.weighted(row[:, 0], row[:, 1], recipe.alpha))
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
