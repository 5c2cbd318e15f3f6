"""A bank that is twice as large as the memory left for it: an epoch from the disk against one from memory.

Most of the machine's memory is taken away for it. Rows are drawn, not extracted: what is asked is what reading costs.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
import torch
from lines import Line, seconds

from milair.features.bank import Part
from milair.model.heads import Heads
from milair.recipe import Recipe
from milair.training.train import learn

LEFT = 2e9  # bytes of memory, about
VIEWS, SHAPE, CLASSES = 48, (512, 7, 7), 6


def part(file: Path, size: float) -> Part:
    """So many bytes of rows in a file."""
    row = np.dtype((np.float32, SHAPE))
    pictures = int(size / row.itemsize / (VIEWS + 1))
    random = np.random.default_rng(0)
    with file.open("wb") as out:
        for _ in range(pictures):
            out.write(random.random((VIEWS + 1, *SHAPE), dtype=np.float32).tobytes())
    rows = torch.from_numpy(np.memmap(file, row, "c", shape=pictures * (VIEWS + 1)))
    numbers = torch.arange(len(rows)).reshape(pictures, VIEWS + 1).T
    boxes = torch.tensor([0.25, 0.25, 0.75, 0.75]).expand(*numbers.shape, 4)
    labels = torch.arange(pictures) % CLASSES
    return Part(rows, numbers, boxes, torch.ones_like(numbers, dtype=torch.bool), labels)


def lines(n: int = 3) -> Iterator[Line]:
    recipe = Recipe(weights="random", normalisation="imagenet", epochs=1000, patience=1000)
    with TemporaryDirectory() as folder:
        rows = part(Path(folder) / "features.f32", 2 * LEFT)
        epochs = learn(recipe, Heads(recipe, SHAPE, CLASSES), rows, torch.device("cpu"))
        next(epochs)
        fits = [seconds(lambda: next(epochs)) for _ in range(n)]
        taken = np.ones(int(psutil.virtual_memory().available - LEFT), np.uint8)
        next(epochs)
        larger = [seconds(lambda: next(epochs)) for _ in range(n)]
        del taken
        size = f"{rows.rows.nbytes / 1e9:.0f} GB"
    yield Line(f"an epoch from {size} in memory", f"with {LEFT / 1e9:.0f} GB of memory left for it", fits, larger)
