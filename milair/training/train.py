"""Training a recipe's heads on a bank: a generator of epochs that has never heard of a study."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from time import perf_counter

import torch
from torch import Tensor

from milair.errors import MilairError
from milair.features.bank import Bank, Part
from milair.model.heads import Heads
from milair.recipe import Recipe
from milair.training import devices, losses, metrics
from milair.training.cascade import Cascade
from milair.training.optimisation import Optimisation
from milair.training.outputs import Outputs, evaluate
from milair.training.values import Epoch, Metrics


def new_heads(recipe: Recipe, bank: Bank, device: torch.device) -> list[Heads]:
    """The heads of each look, as the recipe's seed draws them."""
    shapes = [part.rows.shape[1:] for part in (bank.train, bank.second and bank.second.train) if part]
    with seeded(recipe.seed, 0, device):
        return [Heads(recipe, shape, len(bank.classes)).to(device) for shape in shapes]


def train(recipe: Recipe, bank: Bank, device: torch.device, heads: Sequence[Heads] | None = None) -> Iterator[Epoch]:
    """Train heads for `recipe.epochs`; without a schedule until the validation loss has not fallen for `patience`.

    A second look is trained when the first one has ended, on crops; its last epoch is scored by all iterations.
    `heads` are `new_heads`, for those who want to have them after an epoch: as they were validated then.
    MilairError if the bank has too few views, or if there is a second look and no schedule.
    """
    refuse(recipe)
    if recipe.augmentations > bank.train.views:
        raise MilairError(f"an epoch of {recipe.augmentations} views cannot be drawn from a bank of {bank.train.views}")
    if device.type == "cuda":
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    first, *others = heads or new_heads(recipe, bank, device)
    yield from _epochs(recipe, first, bank.train, bank.val, partial(evaluate, first, bank.val), device)
    if bank.second is not None:
        (second,) = others
        cascade = Cascade(recipe, bank, first, second)
        for epoch in _epochs(recipe, second, bank.second.train, bank.val, cascade.evaluate, device, recipe.epochs):
            if epoch.number == recipe.all_epochs:
                outputs = cascade.evaluate_all()
                epoch = replace(epoch, best=outputs.metrics(bank.val, recipe.alpha), outputs=outputs.rows())
            yield epoch


def refuse(recipe: Recipe) -> None:
    """MilairError if a recipe cannot be trained, whatever the bank."""
    if recipe.looks > 1 and not recipe.scheduled:
        raise MilairError(f"looks is {recipe.looks} and schedule is {recipe.schedule}; a second look needs a schedule")


def _epochs(
    recipe: Recipe,
    heads: Heads,
    part: Part,
    val: Part,
    outputs_now: Callable[[], Outputs],
    device: torch.device,
    before: int = 0,
) -> Iterator[Epoch]:
    """Train heads on a part, and validate them after each epoch; `before` epochs were those of another look."""
    best, best_number, start = None, 0, perf_counter()
    for number, training in enumerate(learn(recipe, heads, part, device, before), before + 1):
        outputs = outputs_now()
        now = outputs.metrics(val, recipe.alpha)
        if best is None or recipe.scheduled or now.loss < best.loss or math.isnan(best.loss):
            best, best_number = now, number
        passes, seconds = number * recipe.augmentations, perf_counter() - start
        memory = devices.peak_memory(device)
        yield Epoch(number, passes, training, now, best, best_number, outputs.rows(), seconds, memory)
        if number - best_number >= recipe.patience:
            return
        start = perf_counter()


def learn(recipe: Recipe, heads: Heads, part: Part, device: torch.device, before: int = 0) -> Iterator[Metrics]:
    """Train heads on a part, epoch by epoch; after each they hold the weights to validate, with `ema` the averaged.

    Every epoch sees each picture in `recipe.augmentations` different views out of the part's. Each epoch seeds itself,
    so that the same recipe on the same kind of device with the same number of threads gives the same numbers,
    whatever else the process did in between.
    """
    optimisation = Optimisation(heads, recipe, recipe.epochs * steps(recipe, part))
    for number in range(before + 1, before + recipe.epochs + 1):
        with seeded(recipe.seed, number, device):
            training = _epoch(optimisation, recipe, part)
        yield training


def _epoch(optimisation: Optimisation, recipe: Recipe, part: Part) -> Metrics:
    optimisation.learner.train()
    seen = []
    for views, pictures in draw(part, recipe.augmentations, recipe.batch_size):
        features = part.rows.index_select(0, part.index[views, pictures])
        boxes, labels = part.boxes[views, pictures], part.labels[pictures]
        logits, predicted = optimisation.learner(features)
        optimisation.step(losses.weighted(recipe, logits, predicted, labels, boxes))
        seen.append((logits.detach(), predicted.detach(), labels, boxes))
    rows = metrics.per_image(*(torch.cat(batches) for batches in zip(*seen, strict=True)))
    return metrics.mean(rows, recipe.alpha)


def draw(part: Part, augmentations: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
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


def steps(recipe: Recipe, part: Part) -> int:
    """How many batches make an epoch."""
    return len(_cuts(len(part) * recipe.augmentations, recipe.batch_size)) + 1


def _cuts(views: int, batch_size: int) -> list[int]:
    """Where batches begin, after the first. A last batch of one joins the one before it: BatchNorm needs two."""
    return list(range(batch_size, views - 1, batch_size))


@contextmanager
def seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """A block whose random numbers depend on seed and epoch alone, and that leaves the generators as it found them."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed((seed << 20) + epoch)
        yield
