"""Banks of made-up features, on which heads train in milliseconds."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from milair import ConvHead, LinearHead, Recipe
from milair.features.bank import Bank, Part

CPU = torch.device("cpu")
SHAPE = 6, 3, 3
RECIPE = Recipe(
    cls_head=LinearHead("8"), reg_head=ConvHead(1, 8), augmentations=2, batch_size=8, epochs=4, learning_rate=0.01
)


def part(count: int, views: int, seed: int, noise: float = 0.3) -> Part:
    """Pictures of three classes; a class is told by its channel, and each has its own box."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 3
    features = noise * torch.randn(views + 1, count, *SHAPE, generator=generator)
    features[:, torch.arange(count), labels] += 2
    boxes = torch.tensor([[0.1, 0.1, 0.4, 0.5], [0.3, 0.2, 0.9, 0.8], [0.5, 0.5, 0.9, 0.9]])[labels]
    return Part(
        rows=features.flatten(0, 1),
        index=torch.arange((views + 1) * count).view(views + 1, count),
        boxes=boxes.expand(views + 1, -1, -1),
        seen=torch.ones(views + 1, count, dtype=torch.bool),
        labels=labels,
    )


def bank(count: int = 21, views: int = 4) -> Bank:
    return Bank(
        train=part(count, views, 0),
        val=part(9, 0, 1),
        classes=("a", "b", "c"),
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        weights="none",
        computed=0,
        megabytes=0.0,
    )


def contrary() -> Bank:
    """Judged by wrong labels, so that learning makes the validation loss rise."""
    made = bank()
    return replace(made, val=replace(made.val, labels=(made.val.labels + 1) % 3))


def weights(heads: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in heads.state_dict().items()}
