"""What a score promises where the truth is known: independent sets of 189 drawn frames, each judged on 5,000 others.

    .venv/bin/python benchmarks/selection/drawn.py --weights DIR --folder DIR

A pool of frames is drawn as the built-in sample is, with the classes of the 189 real frames in their shares, and goes
through a frozen SqueezeNet once. Each 189 frames of it are a set. On each set quick recipes are trained as a search
would, in five folds and on a single holdout of a quarter, and what they come to on frames that they were not trained
on is kept frame by frame. The truth is what the same models score on 5,000 frames of other sets.

A set is judged on the 5,000 frames that follow its own in the pool, which is a ring. So each frame is judged by its own
set and by as many others as any other frame: a pool of easy frames raises scores and truths alike.

It goes on where it was stopped. `calibration.py` reads the file that it writes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from milair.features.bank import SEEN, Bank, Part
from milair.features.views import apply, move, view
from milair.frames import sample
from milair.frames.frame import Frame, Split
from milair.frames.pictures import LOOK, Picture
from milair.frames.split import splits
from milair.model import zoo
from milair.model.extractor import Extractor
from milair.model.heads import Heads
from milair.model.preprocessing import Preprocessing
from milair.recipe import DenseHead, Recipe
from milair.training import metrics
from milair.training.folds import Folds
from milair.training.outputs import Outputs, evaluate
from milair.training.train import new_heads, train
from milair.training.values import Metrics

Arrays = dict[str, NDArray[Any]]

CPU = torch.device("cpu")
SIZE = 256, 144  # pixels
SEED = 32
SET, UNSEEN = 189, 5000  # frames
SHARES = np.array([41, 37, 35, 34, 23, 19]) / 189  # of classes among the real frames, most frequent first
VIEWS = 2  # augmented ones
CHANNELS, CELLS = 64, 4  # that features are brought to, for speed: principal components, and averages over the map
FITTED = 500  # frames of no set, by which these components are found

BASELINE = Recipe(
    backbone="squeezenet1_1",
    image_size=f"{SIZE[0]}x{SIZE[1]}",
    cls_head=DenseHead(channels=32, blocks=0),
    reg_head=DenseHead(channels=32, blocks=1),
    alpha=0.5,
    augmentations=1,
    optimizer="adamw",
    schedule="cosine",
    warmup=0.05,
    learning_rate=0.02,
    weight_decay=1e-4,
    batch_size=50,
    epochs=12,
)
RECIPES = {
    "baseline": BASELINE,
    "class 1x32": replace(BASELINE, cls_head=DenseHead(channels=32, blocks=1)),
    "48 channels": replace(
        BASELINE, cls_head=DenseHead(channels=48, blocks=0), reg_head=DenseHead(channels=48, blocks=1)
    ),
    "16 channels": replace(
        BASELINE, cls_head=DenseHead(channels=16, blocks=0), reg_head=DenseHead(channels=16, blocks=1)
    ),
    "rate 0.01": replace(BASELINE, learning_rate=0.01),
    "rate 0.04": replace(BASELINE, learning_rate=0.04),
    "18 epochs": replace(BASELINE, epochs=18),
    "two views": replace(BASELINE, augmentations=2, epochs=6),
    "smooth, GIoU": replace(BASELINE, label_smoothing=0.1, box_loss="giou"),
    "constant rate": replace(BASELINE, schedule="constant", warmup=0.0, learning_rate=0.01, epochs=16),
}
AGAIN = ("baseline", "two views")  # trained with three seeds, on the first sets
SEEDS, REPEATED = 3, 30
RUNS = [(name, 0) for name in RECIPES] + [(name, seed) for seed in range(1, SEEDS) for name in AGAIN]


@dataclass(frozen=True)
class Pool:
    """Drawn frames and their features."""

    rows: Tensor  # float32 [frames * (VIEWS + 1), CHANNELS, CELLS, CELLS]; the views of a frame follow each other
    boxes: Tensor  # float32 [VIEWS + 1, frames, 4] in shares of the view
    seen: Tensor  # bool [VIEWS + 1, frames]
    labels: Tensor  # int64 [frames]

    def part(self, places: Sequence[int], views: int = 0) -> Part:
        """These frames as a bank holds them, in so many augmented views."""
        frames = torch.tensor(places)
        index = frames * (VIEWS + 1) + torch.arange(views + 1)[:, None]
        boxes, seen = self.boxes[: views + 1, frames], self.seen[: views + 1, frames]
        return Part(self.rows, index, boxes, seen, self.labels[frames])

    def frames(self, places: Sequence[int]) -> list[Frame]:
        """As values to be split. None is a near-duplicate of another: each was drawn by itself."""
        rows = zip(places, self.labels[places].tolist(), self.boxes[0, places].tolist(), strict=True)
        return [Frame(_picture(place), sample.CLASSES[label], tuple(box)) for place, label, box in rows]


def draw(number: int) -> tuple[Tensor, int, tuple[float, ...]]:
    """A frame of the pool: its picture [3, height, width] in 0–1, its class and its box in shares."""
    random = np.random.default_rng([SEED, number])
    label = int(random.choice(len(SHARES), p=SHARES))
    picture, box = sample.draw(sample.CLASSES[label], random, SIZE)
    return Preprocessing(SIZE).resize(picture).float() / 255, label, tuple(np.divide(box, SIZE * 2).tolist())


def compute(extract: Extractor, numbers: Sequence[int], components: tuple[Tensor, Tensor]) -> Arrays:
    """Features of frames in all their views, and what is true of them."""
    rows, boxes, seen, labels = [], [], [], []
    for number in numbers:
        picture, label, box = draw(number)
        views = [view(_picture(number).content, each) for each in range(VIEWS + 1)]
        rows.append(project(extract(torch.stack([apply(each, picture) for each in views])), *components))
        moved = [move(each, box) for each in views]  # type: ignore[arg-type]
        boxes.append([where for where, _ in moved])
        seen.append([share >= SEEN for _, share in moved])
        labels.append(label)
    return {
        "rows": torch.stack(rows).half().numpy(),
        "boxes": np.array(boxes, np.float32),
        "seen": np.array(seen),
        "labels": np.array(labels),
    }


def project(features: Tensor, mean: Tensor, axes: Tensor) -> Tensor:
    """Features [n, channels, rows, columns] to [n, CHANNELS, CELLS, CELLS]; averages and components are both linear."""
    cells = adaptive_avg_pool2d(features, CELLS) - mean[:, None, None]
    return torch.einsum("nchw,cd->ndhw", cells, axes)


def fit(extract: Extractor, first: int) -> tuple[Tensor, Tensor]:
    """The mean [channels] and the principal axes [channels, CHANNELS] of the cells of frames from a number on."""
    pictures = (draw(number)[0] for number in range(first, first + FITTED))
    maps = torch.cat([adaptive_avg_pool2d(extract(picture[None]), CELLS) for picture in pictures])
    cells = maps.permute(0, 2, 3, 1).flatten(0, 2).double()
    mean = cells.mean(0)
    values, axes = torch.linalg.eigh((cells - mean).T @ (cells - mean))
    return mean.float(), axes[:, values.argsort(descending=True)[:CHANNELS]].float()


def pool(folder: Path, weights: str, sets: int) -> Pool:
    """The frames of so many sets, a file each, of which missing ones are computed."""
    recipe = BASELINE if weights != "random" else replace(BASELINE, weights="random")
    state = None if weights == "random" else zoo.load_state(recipe.backbone, weights)
    extract = Extractor.build(recipe, state, Preprocessing(SIZE), CPU)
    (axes,) = kept([folder / "axes.npz"], lambda _: dict(zip("ma", map(np.asarray, fit(extract, 10**6)), strict=True)))
    components = torch.from_numpy(axes["m"]), torch.from_numpy(axes["a"])
    files = [folder / f"frames-{number:03}.npz" for number in range(sets)]
    each = list(kept(files, lambda n: compute(extract, range(n * SET, (n + 1) * SET), components)))
    rows, boxes, seen, labels = (
        torch.from_numpy(np.concatenate([one[name] for one in each])) for name in ("rows", "boxes", "seen", "labels")
    )
    return Pool(rows.flatten(0, 1).float(), boxes.transpose(0, 1), seen.T, labels)


def judge(frames: Pool, number: int) -> Arrays:
    """All runs on a set: IoU and correctness of frames that were held out, and what is true of the same models."""
    places = range(number * SET, (number + 1) * SET)
    ring = len(frames.labels)
    unseen = frames.part([(places.stop + step) % ring for step in range(UNSEEN)])
    values = frames.frames(places)
    (single,) = splits(values, "stratified")
    told: dict[str, list[Any]] = {}
    for name, again in RUNS if number < REPEATED else RUNS[: len(RECIPES)]:
        recipe = replace(RECIPES[name], seed=SEEDS * number + again)
        for way, cut in (("folds", splits(values, "folds:5", recipe.seed)), ("holdout", (single,))):
            for what, value in run(recipe, frames, cut, unseen).items():
                told.setdefault(f"{way}_{what}", []).append(value)
    del told["holdout_ensemble"]  # of one model
    return {name: np.array(rows) for name, rows in told.items()}


def run(recipe: Recipe, frames: Pool, cut: Sequence[Split], unseen: Part) -> dict[str, NDArray[Any]]:
    """A recipe trained on each fold of a cut and scored at one number of epochs for all of them."""
    folds, models = Folds(recipe), list[list[Heads]]()
    banks = [
        Bank(frames.part(_places(split.train), VIEWS), frames.part(_places(split.val)), sample.CLASSES, (), ())
        for split in cut
    ]
    for split, bank in zip(cut, banks, strict=True):
        epochs, (heads,) = folds.begin(split), new_heads(recipe, bank, CPU)
        models.append([])
        for epoch in train(recipe, bank, CPU, [heads]):
            epochs.append(epoch)
            models[-1].append(heads if recipe.scheduled else deepcopy(heads))  # a schedule's end is what counts
    chosen = [each[folds.number - 1] for each in models]
    held = torch.cat([_rows(evaluate(one, bank.val), bank.val) for one, bank in zip(chosen, banks, strict=True)])
    order = np.argsort([place for split in cut for place in _places(split.val)])
    outputs = [evaluate(one, unseen) for one in chosen]
    probabilities = torch.stack([each.logits.softmax(1) for each in outputs]).mean(0)
    together = Outputs(probabilities.log(), torch.stack([each.boxes for each in outputs]).mean(0))
    return {
        "iou": (255 * held[:, 0]).round().byte().numpy()[order],
        "right": held[:, 1].bool().numpy()[order],
        "true": np.array([_score(each.metrics(unseen, recipe.alpha)) for each in outputs], np.float32),
        "ensemble": np.array(_score(together.metrics(unseen, recipe.alpha)), np.float32),
    }


def kept(files: Sequence[Path], make: Any) -> Iterator[Arrays]:
    """What files hold; of a missing one, what `make` gives for its number. Each appears whole or not at all."""
    for number, file in enumerate(files):
        if not file.is_file():
            start = perf_counter()
            made = make(number)
            draft = file.with_suffix(".draft.npz")
            np.savez(draft, **made)
            draft.rename(file)
            print(f"{file.name}  {perf_counter() - start:.1f} s", flush=True)
        with np.load(file) as arrays:
            yield dict(arrays)


def save(file: Path, each: Sequence[Arrays]) -> None:
    """All sets in one compressed file [sets, recipes, …], what is right or wrong as bits; `again_…` holds the runs with
    other seeds [REPEATED, runs, …]."""
    arrays = {name: np.stack([one[name][: len(RECIPES)] for one in each]) for name in each[0]}
    arrays |= {f"again_{name}": np.stack([one[name][len(RECIPES) :] for one in each[:REPEATED]]) for name in each[0]}
    bits = {name: np.packbits(array, axis=-1) for name, array in arrays.items() if array.dtype == bool}
    recipes = json.dumps({name: recipe.to_json() for name, recipe in RECIPES.items()})
    again = np.array([name for name, _ in RUNS[len(RECIPES) :]])
    np.savez_compressed(file, allow_pickle=False, **(arrays | bits), again=again, recipes=np.array(recipes))


def _picture(number: int) -> Picture:
    """A picture that is in no file, as different from others as noise is."""
    look = np.random.default_rng(number).integers(0, 256, 3 * LOOK * LOOK, np.uint8).tobytes()
    return Picture(Path(f"{number}"), *SIZE, "RGB", 1, sha256(f"{SEED} {number}".encode()).digest(), look)


def _places(frames: Sequence[Frame]) -> list[int]:
    return [int(frame.path.name) for frame in frames]


def _rows(outputs: Outputs, part: Part) -> Tensor:
    """IoU and correctness [n, 2]."""
    return metrics.per_image(outputs.logits, outputs.boxes, part.labels, part.boxes[0])[:, 1:]


def _score(means: Metrics) -> tuple[float, float]:
    return means.iou, means.accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where features and trained sets are kept")
    parser.add_argument("--weights", default="imagenet")
    parser.add_argument(
        "--pool",
        type=int,
        default=120,
        help="sets to draw, a ring: of another size the last ones have other frames to be judged on",
    )
    parser.add_argument("--sets", type=int, default=120, help="sets to train on")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("drawn.npz"))
    options = parser.parse_args()
    if options.pool * SET < SET + UNSEEN or options.pool < options.sets:
        parser.error(f"--pool {options.pool}: a set is judged on {UNSEEN} frames of others, so draw more sets")
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    frames = pool(options.folder, options.weights, options.pool)
    files = [options.folder / f"set-{number:03}.npz" for number in range(options.sets)]
    save(options.out, list(kept(files, lambda number: judge(frames, number))))


if __name__ == "__main__":
    main()
