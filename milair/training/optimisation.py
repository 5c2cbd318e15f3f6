"""How weights are learned: the optimizer, the schedule of its learning rate, and the average of the weights."""

import math
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from milair.recipe import Recipe

_CLIP = 1.0  # gradient norm
_OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class Optimisation:
    """The steps of one training of heads.

    Steps change `learner`. That is `heads` itself, or with `ema` a copy, whose average over the steps `heads` hold:
    so `heads` are always what is to be validated and kept.
    """

    def __init__(
        self, heads: nn.Module, recipe: Recipe, steps: int, groups: Sequence[dict[str, Any]] | None = None
    ) -> None:
        """`steps` are those of the whole training, by which the schedule goes. `groups` of parameters with learning
        rates of their own are in place of all parameters; then there is no `ema`."""
        self.learner = deepcopy(heads) if recipe.ema else heads
        self.averages = list(zip(_floats(heads), _floats(self.learner), strict=True)) if recipe.ema else []
        self.decay, self.taken = recipe.ema, 0
        self.optimizer = _OPTIMIZERS[recipe.optimizer](
            groups or self.learner.parameters(),
            lr=recipe.learning_rate,
            weight_decay=recipe.weight_decay,
            fused=True,  # a step on the 20 million weights of a wide linear head takes a tenth of the time
        )
        self.schedule = LambdaLR(self.optimizer, lambda step: rate(recipe, step, steps))

    def step(self, loss: Tensor) -> None:
        """One step down the gradient of a loss, and its part in the averages.

        The first weights have none, as in Adam's moments: a training shorter than 1 / (1 - ema) has an average too."""
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.learner.parameters(), _CLIP)
        self.optimizer.step()
        self.schedule.step()
        self.taken += 1
        for average, value in self.averages:
            average.lerp_(value, (1 - self.decay) / (1 - self.decay**self.taken))


def rate(recipe: Recipe, step: int, steps: int) -> float:
    """The share of the learning rate that a step (from 0) of so many takes.

    Cosine and constant warm up linearly; one-cycle goes by PyTorch's OneCycleLR, without its cycle of the momentum."""
    warm = recipe.warmup * steps
    if recipe.schedule == "onecycle":
        if step < warm - 1:
            return _cosine(1 / 25, 1, step / (warm - 1))
        return _cosine(1, 1 / 25e4, (step + 1 - warm) / (steps - warm))
    if step < warm:
        return (step + 1) / (warm + 1)
    return _cosine(1, 0, (step - warm) / (steps - warm)) if recipe.schedule == "cosine" else 1.0


def _cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2


def _floats(heads: nn.Module) -> list[Tensor]:
    """The very weights and statistics, no copies; not BatchNorm's count of batches."""
    return [value for value in heads.state_dict().values() if value.is_floating_point()]
