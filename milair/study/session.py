"""The one place in which a study is opened: its settings, its frames held against its labels, its split, its space."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import optuna

from milair.features import QUOTA
from milair.frames import OBJECTS, sample
from milair.frames.frame import Frame, Frames, Split, label_difference, label_rows
from milair.frames.pictures import cache_folder, seen_pictures
from milair.frames.read import read
from milair.frames.split import splits
from milair.recipe import Recipe
from milair.space import Space
from milair.study import results, storage
from milair.study.settings import SAMPLE, Settings, new_settings
from milair.training.paired import Truth
from milair.training.values import Inputs, Training

LABELS = "milair:labels"  # the study's system attribute that holds its label rows
Progress = Callable[[str, int, int], None]  # what, done, total


@dataclass
class Session:
    """A study, or one to be, with all that its trials share."""

    settings: Settings
    frames: Frames
    space: Space = None  # type: ignore[assignment]  # not for those who only want what was trained
    study: optuna.Study = None  # type: ignore[assignment]  # not in a dry run, nor under another program's study
    _splits: dict[int, tuple[Split, ...]] = field(default_factory=dict, repr=False)  # by seed

    def recipe(self, recipe: Recipe) -> Recipe:
        """A recipe under the study's overrides."""
        return recipe.override(self.settings.overrides)

    def reference(self, recipe: Recipe) -> Recipe:
        """One that is compared with: by folds with features that all of them share."""
        shared = self.by_folds and recipe.normalisation == "data"
        return replace(recipe, normalisation="frames") if shared else recipe

    def splits(self, seed: int = Recipe().seed) -> tuple[Split, ...]:
        """What a recipe of that seed is trained on: one split, or one a fold. MilairError if frames cannot be split."""
        if seed not in self._splits:
            self._splits[seed] = splits(self.frames.labelled, self.settings.split_kind, seed)
        return self._splits[seed]

    @property
    def by_folds(self) -> bool:
        """Whether a trial is trained once a fold."""
        return len(self.splits()) > 1

    def training(self, recipe: Recipe) -> Training:
        """The one training of a recipe, by folds the first."""
        return Training(recipe, self.splits(recipe.seed)[0])

    @property
    def validation(self) -> tuple[Frame, ...]:
        """The frames that trials are scored on, in the order in which their outputs are kept: all of them by folds."""
        return self.frames.labelled if self.by_folds else self.splits()[0].val

    @property
    def truth(self) -> Truth:
        """What these frames show."""
        return Truth.of(self.validation, self.frames.classes)

    def inputs(self, folder: Path | None = None, quota: float = QUOTA) -> Inputs:
        """What trainings share; banks in `folder`, else in the user's cache."""
        settings, frames = self.settings, self.frames
        banks = folder or cache_folder() / "banks"
        return Inputs(frames.labelled, frames.classes, settings.views, settings.source, banks, quota)

    def store(self, study: optuna.Study) -> Self:
        """This session on a study, its settings and label rows stored there. The caller holds the study."""
        self.study, stored = study, None
        if results.SETTINGS in study.user_attrs or study.get_trials(deepcopy=False):
            stored = results.stored_settings(study)
            self.refuse_difference(stored)
        if stored != self.settings:  # new, or its data or weights have moved
            study.set_user_attr(results.SETTINGS, self.settings.to_json())
            with storage.experimental():
                study.set_metric_names(["score"])  # or the dashboard calls it "Objective 0"
        if self._labels() is None:
            storage.of(study).set_study_system_attr(study._study_id, LABELS, label_rows(self.frames.labelled))
        return self

    def hold_labels(self) -> None:
        """MilairError, with file and row, if frames or labels are others now than when they were read."""
        if self.frames.changed():
            self.frames = read_frames(self.settings.data, self.settings.objects)
            replace(self, settings=self.settings.with_frames(self.frames)).refuse_difference(self.settings)

    def refuse_difference(self, stored: Settings) -> None:
        """MilairError that names what differs from the settings and labels of the study."""
        rows = self._labels()
        detail = None if rows is None else label_difference(rows, self.frames.labelled)
        stored.refuse_difference(self.settings, self.study.study_name, detail)

    def _labels(self) -> list[list[Any]] | None:
        """The label rows stored with the study; None if it is older than these."""
        rows: list[list[Any]] | None
        rows = storage.of(self.study).get_study_system_attrs(self.study._study_id).get(LABELS)
        return rows


def open_session(
    space: Space | None,
    study: optuna.Study | None,
    *,
    data: str | Path | None = None,
    weights: str | None = None,
    objects: str | None = None,
    progress: Progress | None = None,
    **choices: Any,
) -> Session:
    """The session of a study (then `space` may be None), of a run of a space, or of one that goes on with a study.

    `data` and `weights` say where they lie now, if they moved; `choices` are those of `new_settings`. MilairError
    names what differs from the study: a file and row of the labels, an option."""
    stored = None
    if study is not None and (space is None or results.SETTINGS in study.user_attrs):
        stored = results.stored_settings(study)
    place = stored.data if stored and data is None else data_place(data)
    objects = objects or (stored.objects if stored else OBJECTS[0])
    frames = read_frames(place, objects, progress)
    if space is not None:
        settings = new_settings(space, place, frames, weights=weights, objects=objects, stored=stored, **choices)
        space = space.narrowed(settings.only)
    elif stored is not None:
        settings = replace(stored.with_frames(frames), data=place, source=weights or stored.source)
    session = Session(settings, frames, space, study)  # type: ignore[arg-type]  # see there
    if stored is not None:
        session.refuse_difference(stored)
    session.splits()  # refused here, if frames cannot be split so
    return session


def read_frames(data: str, objects: str = OBJECTS[0], progress: Progress | None = None) -> Frames:
    """The frames of a place in settings; the built-in sample is drawn into the cache folder first."""
    folder = sample.write(cache_folder() / "sample-2") if data == SAMPLE else Path(data)
    return read(folder, objects, remember=seen_pictures(), progress=progress)


def data_place(folder: str | Path | None) -> str:
    """How settings name where frames lie: an absolute path, or "sample" for the built-in ones."""
    return SAMPLE if folder is None else str(Path(folder).resolve())
