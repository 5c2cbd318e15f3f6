"""A backbone at work: pictures in, features out."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from milair.model import backbones
from milair.model.backbones import Backbone
from milair.model.preprocessing import Preprocessing
from milair.recipe import Recipe

BATCH = 32  # pictures in every forward pass of a GPU


@dataclass(frozen=True, slots=True)
class Extractor:
    """Pictures float [n, 3, height, width] in 0–1, of any size, to features [n, channels, rows, columns].

    On a CPU pictures pass one by one, on a GPU always BATCH of them: no number depends on what else is computed."""

    backbone: Backbone
    preprocessing: Preprocessing
    device: torch.device

    @classmethod
    def build(
        cls, recipe: Recipe, state: dict[str, Tensor] | None, preprocessing: Preprocessing, device: torch.device
    ) -> Self:
        backbone = backbones.build(recipe.feature_map, state).to(device)
        return cls(backbone.to(memory_format=torch.channels_last), preprocessing, device)  # 1.8 times as fast on a CPU

    @torch.inference_mode()
    def __call__(self, pictures: Tensor) -> Tensor:
        return self.with_gradients(pictures)

    def with_gradients(self, pictures: Tensor) -> Tensor:
        """The same, where the backbone is not frozen."""
        at_once = 1 if self.device.type == "cpu" else BATCH  # larger ones cost a CPU half again: memory, then cache
        padded = torch.cat([pictures, pictures[-1:].expand(-len(pictures) % at_once, -1, -1, -1)]).to(self.device)
        normal = self.preprocessing.normalise(padded).contiguous(memory_format=torch.channels_last)
        return torch.cat([self.backbone(some) for some in torch.split(normal, at_once)])[: len(pictures)]
