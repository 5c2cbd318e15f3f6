"""What goes beside a model: its card, and pictures of validation frames with both boxes."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from milair.errors import MilairError, what_failed
from milair.features.views import View, move
from milair.frames import duplicates
from milair.frames.frame import Frame, Split
from milair.model.card import Card, Scores
from milair.model.detector import Detector, Ensemble
from milair.study import results
from milair.study.session import Session
from milair.training import plots
from milair.training.calibration import Calibration, fit
from milair.training.chance import chance_baseline
from milair.training.metrics import mean, per_image
from milair.training.noise import Noise
from milair.training.outputs import Outputs, predicted
from milair.training.paired import Truth
from milair.training.values import Metrics

_SAMPLES = 4  # pictures


@dataclass(frozen=True, slots=True)
class Validation:
    """Frames that a model was not trained on, and its outputs for them."""

    frames: tuple[Frame, ...]
    outputs: Outputs

    @classmethod
    def seen(cls, model: Detector | Ensemble, split: Split) -> Self:
        """Of a split's validation frames, whose pictures are opened for it."""
        return cls(split.val, predicted(model, [frame.picture for frame in split.val]))

    @classmethod
    def joined(cls, parts: "Sequence[Validation]") -> Self:
        """Of several folds."""
        frames = tuple(frame for part in parts for frame in part.frames)
        outputs = [part.outputs for part in parts]
        logits, boxes = torch.cat([one.logits for one in outputs]), torch.cat([one.boxes for one in outputs])
        return cls(frames, Outputs(logits, boxes))

    def metrics(self, classes: Sequence[str], alpha: float) -> Metrics:
        """Means over these frames."""
        logits, boxes = self.outputs.logits.cpu(), self.outputs.boxes.cpu()
        labels = torch.tensor([classes.index(frame.label) for frame in self.frames])
        targets = torch.tensor([move(View(), frame.box)[0] for frame in self.frames])
        return mean(per_image(logits, boxes, labels, targets), alpha)

    def calibration(self, classes: Sequence[str]) -> Calibration:
        """The temperature that fits these outputs."""
        logits = self.outputs.logits.double().log_softmax(1).cpu().numpy()
        return fit(logits, [classes.index(frame.label) for frame in self.frames])

    def interval(self, classes: Sequence[str]) -> tuple[float, float] | None:
        """Of the mean score over these frames, with 95%; None for a single frame."""
        if len(self.frames) < 2:
            return None
        rows = Truth.of(self.frames, classes).outcomes(self.outputs.rows())
        estimate = Noise({0: [rows.mean(1)]}).score(0)
        return estimate.low, estimate.high


@dataclass(frozen=True, slots=True)
class Description:
    """What a model's card says of it, beside what the model itself holds."""

    session: Session
    splits: Sequence[Split]  # that its score is of; where all frames were trained on, the study's
    folds: int  # 1: of one split
    trial: int | None = None
    epoch: int | None = None  # None: its members have cards of their own
    expected: float | None = None  # the trial's score out of fold
    unfrozen: int = 0  # blocks of the backbone that were trained
    metrics: Metrics | None = None
    validation: Validation | None = None  # None where it was trained on all frames
    calibration: Calibration | None = None

    def write(self, folder: Path, model: Detector | Ensemble) -> str:
        """Write the card and its pictures; "" or, where that fails, a line that says so. The model stays."""
        try:
            samples = self._samples(folder)
            (folder / "README.md").write_text(str(self._card(folder.name, model, samples)), encoding="utf-8")
        except (OSError, MilairError) as error:
            return f"its card was not written: {what_failed(error)}"
        return ""

    def _samples(self, folder: Path) -> list[str]:
        """Some validation frames, from the first to the last one."""
        files = [f"samples/{number}.jpeg" for number in range(1, _SAMPLES + 1)]
        for file in files:  # of an older model
            with suppress(FileNotFoundError):
                (folder / file).unlink()
        if self.validation is None:
            return []
        frames, boxes = self.validation.frames, self.validation.outputs.boxes.tolist()
        count = min(_SAMPLES, len(frames))
        for file, number in zip(files[:count], range(count), strict=True):
            place = number * len(frames) // count
            left, top, right, bottom = boxes[place]
            plots.prediction(frames[place], (left, top, right, bottom), folder / file)
        return files[:count]

    def _card(self, name: str, model: Detector | Ensemble, samples: Sequence[str]) -> Card:
        session, validation, metrics, classes = self.session, self.validation, self.metrics, model.classes
        counts = Counter(frame.label for frame in session.frames.labelled)
        recipes, scores = [model.recipe] if isinstance(model, Detector) else [one.recipe for one in model], None
        if metrics is not None:
            interval = None if validation is None else validation.interval(classes)
            scores = Scores(score=metrics.score, iou=metrics.iou, accuracy=metrics.accuracy, interval=interval)
        alike = sum(map(duplicates.across, self.splits))
        return Card(
            name=name,
            what=self._what(len(recipes)),
            study=session.study.study_name,
            trial=self.trial,
            trials=len(results.counted(session.study)),
            counts={label: counts[label] for label in classes},
            data=Path(session.settings.data).name,
            fingerprint=session.settings.fingerprint,
            split=_split(session, self.splits, validation is None),
            duplicates=f"{alike} validation frames have a near-duplicate among the training frames"
            + (", which makes scores too good." if alike else "."),
            recipes=recipes,
            training=self._training(),
            scores=scores,
            expected=self.expected,
            chance=chance_baseline(self.splits),
            calibration=None if self.calibration is None else self.calibration.to_json(),
            samples=samples,
        )

    def _what(self, members: int) -> str:
        if self.validation is None:
            frames = "all labelled frames"
        else:
            frames = "the training frames of " + ("a split" if self.folds == 1 else f"one of {self.folds} folds")
        if members == 1:
            return f"It is one model, trained on {frames}."
        fold = "; its score is of each on the frames that it was not trained on" if len(self.splits) > 1 else ""
        return f"It is an ensemble of {members} models, each trained on {frames}{fold}."

    def _training(self) -> str:
        if self.epoch is None:
            return "Its members differ in their seeds or recipes; each has a folder and a card of its own."
        blocks = f"; then the backbone's last {self.unfrozen} blocks were trained too" if self.unfrozen else ""
        each = " in each fold" if len(self.splits) > 1 and self.validation is not None else ""
        return f"{self.epoch} epochs{each} of its heads on a frozen backbone{blocks}."


def _split(session: Session, splits: Sequence[Split], everything: bool) -> str:
    kind = session.settings.split_kind
    if everything:
        return f"All of them were trained on; the study's split was `{kind}`."
    if len(splits) > 1:
        return f"Split `{kind}`: each of {len(splits)} folds was held back once."
    (split,) = splits
    return f"Split `{kind}`: {len(split.train)} training and {len(split.val)} validation frames."
