"""What was tried and is not kept, with what it gave: see docs/how.md.

*As one batch*: the heads of five folds of one recipe have one shape, so that their weights can be stacked and trained
by one step (`torch.func`: convolutions become grouped ones). *Half precision*: features as float16 halve a bank.
*bfloat16*: processors and GPUs that have it multiply it faster.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from tempfile import TemporaryDirectory

import torch
from lines import Line, Run, turns
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from trial import opened, recipe_for

from milair.features.bank import Bank, Part
from milair.frames.frame import Frames
from milair.model.heads import Heads, corners
from milair.recipe import DenseHead, Head, Recipe
from milair.training import losses
from milair.training.optimisation import Optimisation
from milair.training.train import learn, new_heads, seeded, train
from search_spaces import dense

MEMBERS = 5  # folds
STEPS = 10
Batch = tuple[Tensor, Tensor, Tensor]  # of every member: features, labels, boxes


class Together:
    """Heads of one shape, trained by one step; weights are those that `Optimisation` would give each of them."""

    def __init__(self, heads: Sequence[Heads], recipe: Recipe) -> None:
        self.recipe, self.one = recipe, heads[0].train()
        self.parameters, self.buffers = stack_module_state(list[nn.Module](heads))
        self.optimizer = torch.optim.Adam(
            self.parameters.values(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        self.losses = torch.vmap(self._loss, randomness="different")

    def _loss(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], *batch: Tensor) -> Tensor:
        features, labels, boxes = batch
        logits, predicted = functional_call(self.one, (parameters, buffers), (features,))
        return losses.weighted(self.recipe, logits, predicted, labels, boxes)

    def step(self, features: Tensor, labels: Tensor, boxes: Tensor) -> Tensor:
        """The loss of each member before the step."""
        self.optimizer.zero_grad()
        each = self.losses(self.parameters, self.buffers, features, labels, boxes)
        torch.autograd.backward(each.sum())
        gradients = [value.grad for value in self.parameters.values() if value.grad is not None]
        norm = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
        for gradient in gradients:  # each member's gradient is clipped by itself
            gradient.mul_((1 / (norm + 1e-6)).clamp(max=1).view(-1, *[1] * (gradient.dim() - 1)))
        self.optimizer.step()
        return each.detach()


def one_after_another(heads: Sequence[Heads], recipe: Recipe, batches: Sequence[Batch]) -> list[Tensor]:
    """The last loss of each member."""
    last = []
    for member, one in enumerate(heads):
        optimisation = Optimisation(one.train(), recipe, len(batches))
        for features, labels, boxes in batches:
            logits, predicted = one(features[member])
            loss = losses.weighted(recipe, logits, predicted, labels[member], boxes[member])
            optimisation.step(loss)
        last.append(loss.detach())
    return last


def drawn(part: Part, size: int) -> list[Batch]:
    """Batches of random views, others for each member."""
    made = []
    for _ in range(STEPS):
        views = torch.randint(1, part.views + 1, (MEMBERS, size))
        pictures = torch.randint(len(part), (MEMBERS, size))
        views, pictures = views.to(part.labels.device), pictures.to(part.labels.device)
        rows = part.rows[part.index[views, pictures]]
        made.append((rows, part.labels[pictures], part.boxes[views, pictures]))
    return made


def as_one_batch(recipe: Recipe, bank: Bank, n: int) -> tuple[list[float], list[float]]:
    """Seconds of steps of all members one after another, and as one batch. Both must begin with the same losses."""
    device = bank.train.labels.device
    recipe = replace(
        recipe,
        optimizer="adam",
        schedule="constant",
        warmup=0.0,
        cls_head=_dry(recipe.cls_head),
        reg_head=_dry(recipe.reg_head),
        ema=0.0,
    )
    batches = drawn(bank.train, recipe.batch_size)

    def members() -> list[Heads]:
        return [new_heads(replace(recipe, seed=seed), bank, device)[0] for seed in range(MEMBERS)]

    heads, together = members(), Together(members(), recipe)
    begun = batches[:3]  # roundings grow from step to step
    expected, found = one_after_another(heads, recipe, begun), [together.step(*batch) for batch in begun][-1]
    assert torch.allclose(found, torch.stack(expected), atol=1e-3), (found, expected)
    return turns(
        lambda: one_after_another(heads, recipe, batches),
        lambda: [together.step(*batch) for batch in batches],
        n,
    )


class Half(Heads):
    """Heads that read features in half precision."""

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(features.float())


class Mixed(Heads):
    """Heads whose layers, but for the answers, run in bfloat16."""

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        boxes = _mixed(self.reg_head, features)
        return _mixed(self.cls_head, features), boxes if self.dense else corners(boxes)


def passes(recipe: Recipe, bank: Bank, n: int) -> tuple[list[float], list[float]]:
    """Seconds of 20 pictures through the backbone, one by one, in bfloat16 and in single precision."""
    assert bank.extract is not None
    single, (width, height) = bank.extract.backbone, recipe.size
    picture = torch.rand(1, 3, height, width, device=bank.extract.device).contiguous(memory_format=torch.channels_last)
    other, short = deepcopy(single).bfloat16(), picture.bfloat16()
    with torch.inference_mode():
        return turns(lambda: [other(short) for _ in range(20)], lambda: [single(picture) for _ in range(20)], n)


def new(kind: type[Heads], recipe: Recipe, bank: Bank) -> Heads:
    device = bank.train.labels.device
    with seeded(recipe.seed, 0, device):
        return kind(recipe, bank.shape, len(bank.classes)).to(device)


def epoch(kind: type[Heads], recipe: Recipe, bank: Bank) -> Run:
    epochs = learn(replace(recipe, epochs=1000), new(kind, recipe, bank), bank.train, bank.train.labels.device)
    return lambda: next(epochs)


def scores(kind: type[Heads], recipe: Recipe, bank: Bank, n: int) -> list[float]:
    """Of n seeds."""
    seeds = [replace(recipe, seed=seed) for seed in range(32, 32 + n)]
    return [list(train(one, bank, bank.train.labels.device, [new(kind, one, bank)]))[-1].best.score for one in seeds]


def lines(frames: Frames, source: str, n: int = 3, device: str = "cpu") -> Iterator[Line]:
    best = recipe_for(source)
    yield from of_recipe("the document's best", best, frames, source, n, device)
    yield from of_recipe(
        "the baseline of `dense`", replace(dense.BASELINE, weights=best.weights), frames, source, n, device
    )


def of_recipe(name: str, recipe: Recipe, frames: Frames, source: str, n: int, device: str) -> Iterator[Line]:
    with TemporaryDirectory() as folder:
        bank = opened(recipe, frames, source, folder, device)[1]
        apart, together = as_one_batch(recipe, bank, n)
        yield Line(f"{name}: {STEPS} steps of {MEMBERS} folds as one batch", "one after another", together, apart)
        yield Line(f"{name}: the backbone's pass in bfloat16", "in single precision", *passes(recipe, bank, n))
        halved = replace(bank, train=_halved(bank.train), val=_halved(bank.val))
        plain = scores(Heads, recipe, bank, n)
        for idea, kind, own in (("features in half precision", Half, halved), ("layers in bfloat16", Mixed, bank)):
            single, other = turns(epoch(Heads, recipe, bank), epoch(kind, recipe, own), n)
            yield Line(f"{name}: an epoch with {idea}", "in single precision", other, single)
            yield Line(f"{name}: the score with {idea}", "in single precision", scores(kind, recipe, own, n), plain, "")


def _mixed(head: nn.Sequential, features: Tensor) -> Tensor:
    with torch.autocast(features.device.type, torch.bfloat16):
        features = head[:-2](features)
    outputs: Tensor = head[-2:](features.float())  # the answers, and what makes the picture's of them
    return outputs


def _halved(part: Part) -> Part:
    return replace(part, rows=part.rows.half())


def _dry(head: Head) -> Head:
    """A head without dropout, which would draw other numbers for a batch of members."""
    return replace(head, dropout=0.0) if isinstance(head, DenseHead) else head
