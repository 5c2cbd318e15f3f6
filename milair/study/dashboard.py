"""What a search writes for people who look at its study in optuna-dashboard: notes, pictures, tables, figures.

A trial's are written before it is told, after which nothing can be added: a note, a sheet of validation frames of at
most 60 kB, its curves and two tables of at most `ROWS` rows, together some 60 kB. The study's are renewed now and
then, so that they take two percent of a search at most: a note, figures, and of the best trial three pictures.
"""

import csv
import io
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import UUID

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from milair.boxes import Box, to_pixels
from milair.errors import OutsideError, what_failed
from milair.frames.frame import Frame
from milair.recipe import Recipe, describe
from milair.study import arms, artifacts, drawing, duration, figures, kept, notes, results
from milair.study.lock import Hold
from milair.study.session import Session
from milair.training.chance import chance_baseline
from milair.training.noise import Estimate
from milair.training.paired import Numbers, Truth

ROWS = 500  # of a table: of outputs those of the worst frames, of curves every so many epochs
_EACH = 3  # worst, middling and best frames on a sheet
_ALL, _WORST = 120, 24  # validation frames of the best trial, on two sheets; of more, every so many
SHEET = 400_000  # bytes that either takes at most
_PAUSE, _SHARE = 30, 0.02  # between two renewals: seconds at least, and what they may take of the time


@dataclass
class Board:
    """Of a study that is held. `place` is the folder of artifacts, `words` are options by which commands find it."""

    session: Session
    hold: Hold
    place: Path
    words: Sequence[str] = ()
    _next: float = field(default=0.0, repr=False)  # of time.monotonic
    _best: int | None = field(default=None, repr=False)  # the trial whose pictures are the study's

    @cached_property
    def truth(self) -> Truth:
        return self.session.truth

    @cached_property
    def chance(self) -> float:
        return chance_baseline(self.session.splits())

    @cached_property
    def token(self) -> UUID:
        return artifacts.token(self.hold.study)

    def trial(self, trial: optuna.Trial, state: TrialState, why: str) -> None:
        """Write what came of a running trial; `why` it was pruned. The caller has checked its hold.

        MilairError if a picture has vanished; OutsideError if the disk takes no file."""
        frozen = trial.storage.get_trial(trial._trial_id)
        curves, outputs = kept.curves(frozen), kept.outputs(frozen)
        if curves is not None and outputs and "epoch" in frozen.user_attrs:
            order, scores = self._by_score(outputs)
            files = (
                ("frames.jpeg", "image/jpeg", self._sheet(outputs, order, scores)),
                ("curves.svg", "image/svg+xml", drawing.curves(curves, frozen.user_attrs["epoch"])),
                ("curves.csv", "text/csv", _csv(_curve_rows(curves))),
                ("outputs.csv", "text/csv", _csv(self._output_rows(outputs, order[:ROWS], scores))),
            )
            _written(lambda: artifacts.keep(self.place, trial, self.token, files))
        notes.write(trial.study, self._note(frozen, state, why or kept.error(frozen)), trial._trial_id)

    def study(self, now: bool = False) -> None:
        """Renew the study's note and figures, if it is time or has to be `now`. OutsideError if the hold is lost."""
        start = monotonic()
        if start < self._next and not now:
            return
        self.hold.check()
        study = self.hold.study
        ranking = results.ranked(study)
        best, expected = ranking[0].trials[0] if ranking else None, arms.expected(ranking, self.truth)
        notes.write(study, self._study_note(ranking, expected))
        number = None if best is None else best.number
        for name, data, layout in figures.figures(results.finished(study), number, expected):
            notes.figure(study, name, data, layout)
        if best is not None and best.number != self._best and (outputs := kept.outputs(best)):
            files = self._best_files(best.number, outputs)
            self.hold.check()  # pictures take their time
            _written(lambda: artifacts.renew(self.place, study, self.token, files))
            self._best = best.number
        self._next = monotonic() + max(_PAUSE, (monotonic() - start) / _SHARE)

    def _by_score(self, outputs: list[list[float]]) -> tuple[list[int], Numbers]:
        """Validation frames that have outputs, the worst first, and what came of all: IoU and 1 for a right class."""
        outcomes = self.truth.outcomes(outputs)
        known = np.flatnonzero(~np.isnan(outcomes[:, 0]))
        return [int(n) for n in known[np.argsort(outcomes[known].mean(1), kind="stable")]], outcomes

    def _sheet(self, outputs: list[list[float]], order: list[int], outcomes: Numbers) -> bytes:
        middle = max((len(order) - _EACH) // 2, 0)
        chosen = [*order[:_EACH], *order[middle : middle + _EACH], *order[-_EACH:]]
        return drawing.sheet(self._tiles(outputs, list(dict.fromkeys(chosen)), outcomes))

    def _best_files(self, number: int, outputs: list[list[float]]) -> list[artifacts.File]:
        """Of the best trial: its validation frames from worst to best, the worst, and its confusion matrix."""
        order, outcomes = self._by_score(outputs)
        classes = self.session.frames.classes
        counts = np.zeros((len(classes), len(classes)), int)
        np.add.at(counts, (self.truth.labels[order], np.array([int(outputs[n][0]) for n in order])), 1)
        every, worst = order[:: -(-len(order) // _ALL)], order[:_WORST]
        sheets = [
            drawing.sheet(self._tiles(outputs, of, outcomes), columns, SHEET)
            for of, columns in ((every, 6), (worst, 4))
        ]
        return [
            ("best-frames.jpeg", "image/jpeg", sheets[0]),
            ("best-worst.jpeg", "image/jpeg", sheets[1]),
            ("best-confusion.svg", "image/svg+xml", drawing.confusion(f"trial {number}", classes, counts.tolist())),
        ]

    def _tiles(
        self, outputs: list[list[float]], chosen: Sequence[int], outcomes: Numbers
    ) -> list[tuple[Frame, Box, str]]:
        tiles = []
        for number in chosen:
            frame, row = self.session.validation[number], outputs[number]
            label = self.session.frames.classes[int(row[0])]
            right = "" if outcomes[number, 1] else f", is {frame.label}"
            text = f"IoU {outcomes[number, 0]:.2f}, {label} ({row[1]:.2f}){right}"
            tiles.append((frame, (row[2], row[3], row[4], row[5]), text))
        return tiles

    def _output_rows(self, outputs: list[list[float]], order: list[int], outcomes: Numbers) -> Iterator[Sequence[Any]]:
        yield "frame", "IoU", "right", "true class", "class", "probability", "xmin", "ymin", "xmax", "ymax"
        for number in order:
            frame, row = self.session.validation[number], outputs[number]
            box = to_pixels((row[2], row[3], row[4], row[5]), frame.width, frame.height)
            label = self.session.frames.classes[int(row[0])]
            iou, right = outcomes[number]
            yield frame.path.name, f"{iou:.4f}", int(right), frame.label, label, f"{row[1]:.4f}", *box

    def _note(self, trial: FrozenTrial, state: TrialState, why: str) -> str:
        """Markdown, some 1,500 characters."""
        attributes, name = kept.scalars(trial), self.hold.study.study_name
        recipe = results.recipe_of(trial)
        parts = [f"**{state.name.lower()}**: {_end(recipe, attributes, state, why)}."]
        if "epoch" in attributes:
            loss = "" if attributes["loss"] is None else f", loss {attributes['loss']:.4f}"
            value = (attributes["iou"] + attributes["accuracy"]) / 2
            parts.append(
                f"Score **{value:.4f}** at epoch {attributes['epoch']} of {attributes['epochs']} (chance baseline "
                f"{self.chance:.4f}): mean IoU {attributes['iou']:.4f}, accuracy {attributes['accuracy']:.4f}{loss}."
            )
        if recipe is not None:
            parts += [_in_words(recipe), _heads(recipe)]
        if "size_MB" in attributes:
            parts.append(
                f"{attributes['parameters']:,.0f} parameters, {attributes['trained']:,.0f} of them trained "
                f"({attributes['size_MB']:.1f} MB); {duration(attributes['seconds'])} on {attributes['device']}; "
                f"memory {attributes['ram_MB']:.0f} MB, of the GPU {attributes['vram_MB']:.0f} MB."
            )
        if "epoch" in attributes:
            number = str(trial.number)
            retrain = ["milair.retrain", "--study", name, "--trial", number, *self.words]
            parts.append("Train it again and keep the model:\n\n" + _commands(retrain))
        return "\n\n".join(parts)

    def _study_note(self, ranking: Sequence[arms.Arm], expected: Estimate | None) -> str:
        """Markdown, some 1,500 characters."""
        study, session = self.hold.study, self.session
        trials = study.get_trials(deepcopy=False)
        counts = Counter(map(arms.state_name, trials))
        states = ", ".join(f"{count} {state}" for state, count in counts.items()) or "no trials yet"
        parts = [
            f"**{session.space.question}**",
            f"Data: {len(session.frames.labelled)} labelled frames in `{session.frames.folder.name}`, of which "
            f"{len(session.validation)} are for validation; classes {', '.join(session.frames.classes[:20])}.",
            f"Trials: {states}.",
            f"Chance baseline (majority class, mean box): {self.chance:.4f}.",
        ]
        baseline = [t for t in trials if t.user_attrs.get("note") == "baseline" and t.state in results.FINISHED]
        if baseline and baseline[0].value is not None:
            parts.append(f"The space's baseline, trial {baseline[0].number}: {baseline[0].value:.4f}.")
        commands = [["milair.dashboard", "--study", study.study_name, *self.words]]
        if ranking:
            best = ranking[0].trials[0]
            several = len(ranking[0].trials)
            over = f", the mean of {several} trainings" * (several > 1)
            parts.append(
                f"Best: trial {best.number}, score **{ranking[0].score:.4f}**{over} "
                f"({describe(kept.trained(best), best.params)})."
            )
            if expected is not None:
                parts.append(
                    f"Of other frames expect {expected.value:.3f}, the score less its luck; 95% interval "
                    f"{expected.low:.3f} to {expected.high:.3f}."
                )
            commands = [[f"milair.{word}", "--study", study.study_name, *self.words] for word in ("retrain", "report")]
        parts.append("Go on:\n\n" + _commands(*commands))
        return "\n\n".join(parts)


def _written(write: Callable[[], None]) -> None:
    """OutsideError if the disk does not take what is written."""
    try:
        write()
    except OSError as error:
        raise OutsideError(what_failed(error)) from error


def _end(recipe: Recipe | None, attributes: dict[str, Any], state: TrialState, why: str) -> str:
    """Why a trial ended."""
    if state != TrialState.COMPLETE or recipe is None:
        return why or "ended"
    if recipe.scheduled:
        return "came to the end of its schedule"
    if attributes.get("epochs", 0) < recipe.all_epochs:
        return f"its validation loss had not improved for {recipe.patience} epochs"
    return "trained all of its epochs"


def _in_words(recipe: Recipe) -> str:
    weights = "random weights" if recipe.weights == "random" else f"{recipe.weights} weights"
    schedule = "" if recipe.schedule == "constant" else f", {recipe.schedule} schedule"
    return (
        f"{recipe.backbone} ({weights}) on pictures of {recipe.image_size}; {recipe.augmentations} views of each an "
        f"epoch, at most {recipe.epochs} epochs; α {recipe.alpha:g}, {recipe.box_loss} loss; {recipe.optimizer}, "
        f"learning rate {recipe.learning_rate:g}{schedule}, batches of {recipe.batch_size}; seed {recipe.seed}."
    )


def _heads(recipe: Recipe) -> str:
    rows = ["| head | type | settings |", "| --- | --- | --- |"]
    for name, head in (("class", recipe.cls_head), ("box", recipe.reg_head)):
        values = ", ".join(f"{key} {value}" for key, value in asdict(head).items() if key != "type" and value != "")
        rows.append(f"| {name} | {head.type} | {values or 'direct'} |")
    return "\n".join(rows)


def _commands(*words: Sequence[str]) -> str:
    lines = (shlex.join(["python", "-m", *each]) for each in words)
    return "\n".join(f"- `{line}`" for line in lines)  # a block would not be folded


def _curve_rows(curves: kept.Curves) -> Iterator[Sequence[Any]]:
    names = [(part, name) for part in ("train", "val") for name in curves[part]]
    yield "epoch", *(f"{part} {name}" for part, name in names)
    epochs = len(curves["val"]["loss"])
    for number in range(0, epochs, -(-epochs // ROWS)):
        values = [curves[part][name][number] for part, name in names]
        yield number + 1, *("" if value is None else f"{value:.5f}" for value in values)


def _csv(rows: Iterator[Sequence[Any]]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue().encode()
