"""An epoch on the feature bank against the plain torchvision loop that it replaces, and against the machine's limit.

    make bench            (or: make bench ARGS="--data DIR --weights DIR")

The plain loop does what a notebook does: a DataLoader decodes and augments each picture, the frozen backbone and the
heads run on it, every epoch anew. Both train the same recipe on the same frames in this one process. The limit is the
time that the heads' own arithmetic takes at the rate of a large matrix product, measured here as well.

Measured on the competition's 189 frames with ImageNet weights, two cores of an AMD EPYC, torch 2.15, n = 2 epochs:
plain loop 82.8 s, bank 4.5 s (18 times as fast), the bank built in 92 s, the machine's limit 4.7 s.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from milair.features.bank import Bank, open_bank
from milair.features.views import apply, view
from milair.frames.frame import Split
from milair.frames.split import split
from milair.model import backbones, zoo
from milair.model.heads import Heads
from milair.model.preprocessing import Preprocessing
from milair.recipe import Recipe
from milair.study.session import read_frames
from milair.study.settings import SAMPLE
from milair.training import losses
from milair.training.train import train

CPU = torch.device("cpu")


class Pictures(Dataset[tuple[Tensor, int, Tensor]]):
    """The plain way: decode and augment whenever a picture is asked for."""

    def __init__(self, frames: Split, classes: tuple[str, ...], recipe: Recipe) -> None:
        self.frames, self.classes, self.recipe = frames.train, classes, recipe

    def __len__(self) -> int:
        return len(self.frames) * self.recipe.augmentations

    def __getitem__(self, index: int) -> tuple[Tensor, int, Tensor]:
        frame = self.frames[index % len(self.frames)]
        pixels = Preprocessing(self.recipe.size).decode(frame.path).float() / 255
        shown = apply(view(frame.picture.content, 1 + index // len(self.frames)), pixels)
        return shown, self.classes.index(frame.label), torch.tensor(frame.box)


def plain_epoch(recipe: Recipe, frames: Split, bank: Bank, state: dict[str, Tensor] | None) -> float:
    """Seconds of one epoch of the plain loop."""
    backbone = backbones.build(recipe.feature_map, state)
    heads = Heads(recipe, bank.shape, len(bank.classes))
    optimizer = torch.optim.Adam(heads.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    preprocessing = Preprocessing(recipe.size, bank.mean, bank.std)
    start = perf_counter()
    for pictures, labels, boxes in DataLoader(Pictures(frames, bank.classes, recipe), recipe.batch_size, shuffle=True):
        with torch.inference_mode():
            features = backbone(preprocessing.normalise(pictures))
        logits, found = heads(features.clone())
        optimizer.zero_grad()
        torch.autograd.backward(losses.weighted(recipe, logits, found, labels, boxes))
        nn.utils.clip_grad_norm_(heads.parameters(), 1.0)
        optimizer.step()
    return perf_counter() - start


def limit(recipe: Recipe, frames: Split, bank: Bank) -> float:
    """Seconds of an epoch's multiplications at the rate of a large matrix product; forward once, backward twice."""
    left, right = torch.randn(2, 2048, 2048)
    times = []
    for _ in range(5):
        start = perf_counter()
        left @ right
        times.append(perf_counter() - start)
    rate = 2 * 2048**3 / min(times)
    heads, work = Heads(recipe, bank.shape, len(bank.classes)), 0
    for layer in heads.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            places = bank.shape[1] * bank.shape[2] if isinstance(layer, nn.Conv2d) else 1
            reads_features = layer.weight.shape[1] == bank.shape[0]  # whose gradient nobody needs
            work += 2 * layer.weight.numel() * places * (2 if reads_features else 3)
    return work * len(frames.train) * recipe.augmentations / rate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=SAMPLE)
    parser.add_argument("--weights", default="random")
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    frames = read_frames(options.data)
    parts = split(frames.labelled)
    random = options.weights == "random"
    recipe = Recipe(weights="random" if random else "pretrained", epochs=options.epochs + 1)
    state = None if random else zoo.load_state(recipe.backbone, options.weights)
    with tempfile.TemporaryDirectory() as folder:
        start = perf_counter()
        bank = open_bank(
            recipe,
            parts,
            frames.classes,
            frames=frames.labelled,
            views=12,
            source=options.weights,
            folder=Path(folder),
            device=CPU,
        )
        built = perf_counter() - start
        seconds = median([epoch.seconds for epoch in train(recipe, bank, CPU)][1:])
        plain = median(plain_epoch(recipe, parts, bank, state) for _ in range(options.epochs))
        least = limit(recipe, parts, bank)
    threads, n = torch.get_num_threads(), options.epochs
    print(f"{len(parts.train)} frames in {recipe.augmentations} views, {threads} threads, median of {n} epochs")
    print(f"plain loop      {plain:8.2f} s an epoch")
    print(f"feature bank    {seconds:8.2f} s an epoch, {plain / seconds:.1f} times as fast")
    print(f"                {built:8.2f} s to build it once, paid back in {built / (plain - seconds):.1f} epochs")
    print(f"machine's limit {least:8.2f} s an epoch, the bank takes {seconds / least:.2f} times that")


if __name__ == "__main__":
    main()
