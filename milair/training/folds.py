"""What the trainings of one recipe, a fold each, come to together: at one number of epochs for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from milair.frames.frame import Split
from milair.recipe import Recipe
from milair.training.values import Epoch, Metrics, Row


@dataclass(frozen=True, slots=True)
class Folds:
    """A recipe's trainings so far. One split alone is one fold."""

    recipe: Recipe
    splits: list[Split] = field(default_factory=list)
    epochs: list[list[Epoch]] = field(default_factory=list)  # of each of these

    def begin(self, split: Split) -> list[Epoch]:
        """The epochs of the next fold, to be filled."""
        self.splits.append(split)
        self.epochs.append([])
        return self.epochs[-1]

    def drop(self) -> None:
        """Leave out the last fold, which has not come to its end."""
        self.splits.pop()
        self.epochs.pop()

    @property
    def number(self) -> int:
        """How many epochs count, in all folds alike: to the end of a schedule; else to the lowest validation loss, the
        mean over all folds' frames, that all of them reached."""
        reached = range(1, min(map(len, self.epochs)) + 1)
        if self.recipe.scheduled:
            return reached[-1]
        return min(reached, key=lambda number: self._mean([epochs[number - 1].val.loss for epochs in self.epochs]))

    @property
    def metrics(self) -> Metrics:
        """Means over the validation frames of all folds."""
        each = [epoch.best if self.recipe.scheduled else epoch.val for epoch in self._last]
        return self.mean(each)

    @property
    def outputs(self) -> dict[Path, Row]:
        """Of each validation frame so far what the model that was not trained on it makes of it."""
        folds = zip(self.splits, self._last, strict=True)
        return {f.path: row for split, epoch in folds for f, row in zip(split.val, epoch.outputs, strict=True)}

    @property
    def curves(self) -> dict[str, list[Metrics]]:
        """Epoch by epoch, "train" and "val": means over the folds, as far as all of them went."""
        epochs = list(zip(*self.epochs, strict=False))
        return {
            part: [self.mean([getattr(epoch, part) for epoch in row]) for row in epochs] for part in ("train", "val")
        }

    def mean(self, each: Sequence[Metrics]) -> Metrics:
        """Of one value a fold, weighed by its validation frames."""
        rows = [metrics.to_json() for metrics in each]
        return Metrics(**{name: self._mean([row[name] for row in rows]) for name in rows[0]})

    def _mean(self, values: Sequence[float]) -> float:
        return values[0] if len(values) == 1 else fmean(values, [len(split.val) for split in self.splits])

    @property
    def _last(self) -> list[Epoch]:
        """The epoch of each fold that counts."""
        return [epochs[self.number - 1] for epochs in self.epochs]
