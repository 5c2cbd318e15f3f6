"""What the commands do, as functions that return values: search, retrain, report, load, predict, and an objective."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import TrialState

from milair import __version__
from milair.console import summary
from milair.console.progress import Progress
from milair.errors import UsageError
from milair.features.quota import QUOTA
from milair.space import Space, default_folder
from milair.space import load as load_space
from milair.study import lock, queue, samplers
from milair.study.objective import Objective
from milair.study.pruners import pruner as pruner_by_name
from milair.study.results import EXHAUSTED, GOAL, finished, pick
from milair.study.searching import Plan, Search
from milair.study.session import Session, data_place, open_session
from milair.study.settings import SAMPLE, TRAINING, most_views
from milair.study.storage import default_url, load_study, open_storage, shown
from milair.training import devices as places
from milair.workers.local import Workers

if TYPE_CHECKING:  # torch, which a search leaves to its workers
    from milair.model.detector import Detector, Prediction
    from milair.study.retraining import Retrained
    from milair.training.trainer import Trainer

_TRIALS, _SAMPLE_TRIALS = 40, 12


@dataclass(frozen=True)
class Result:
    """What a search came to: a plain Optuna study, its session, and the summary that the command prints."""

    session: Session
    end: str  # "goal", "exhausted", "time" or "nothing to do"
    summary: dict[str, Any]

    @property
    def study(self) -> optuna.Study:
        return _study_of(self.session)


def search(
    space: str,
    *,
    data: str | Path | None = None,
    trials: int | None = None,
    timeout: float | None = None,
    devices: str = "auto",
    per_device: int = 1,
    name: str | None = None,
    copy_from: str | None = None,
    sampler: str = "tpe",
    pruner: str = "median",
    seed: int = 0,
    studies: Path = Path("studies"),
    storage: str | None = None,
    spaces: Path | None = None,
    bank: Path | None = None,
    bank_quota: float = QUOTA,
    console: Progress | None = None,
    debug: bool = False,
    **choices: Any,
) -> Result:
    """Search a space, or go on with its study, until it has `trials` finished ones in all.

    `choices` are those of `study.settings.new_settings`: weights, views, overrides, only, objects, split. `timeout` in
    seconds: no trial begins later. `storage`: the database's URL, else milair.db in `studies`. MilairError says what is
    wrong, in a line; KeyboardInterrupt leaves trials in hand in the queue."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    console = console or Progress()
    chosen = _space(space, spaces)
    names = places.places(devices, per_device)
    deadline = monotonic() + (timeout if timeout is not None else float("inf"))
    threads = places.threads(len(names))
    with Workers(names, threads, debug) as workers:  # which import torch while the frames are read
        database = open_storage(storage or default_url(studies))
        name = name or f"{chosen.name}@{Path(data_place(data)).name}"
        console.say(f"milair {__version__}, study {name} in {shown(database.url)}\n{chosen.question}\n")
        if copy_from == name:
            raise UsageError(f"--copy-from {name}: that is the study itself; --name NAME names the new one")
        old = None if copy_from is None else load_study(database, copy_from)
        existing = name in optuna.get_all_study_names(database)
        study = optuna.load_study(study_name=name, storage=database) if existing else None
        session = open_session(chosen, study, data=data, progress=console.advance, **choices)
        chosen = session.space or chosen
        console.say(summary.describe(session, names, threads))
        baseline, without = session.recipe(chosen.baseline), {"backbone": session.settings.lacking()}
        order = samplers.shuffled(chosen, seed, without)
        if sampler == "grid" and order is None:
            raise UsageError(f"--sampler grid: the space {chosen.name} is too large, or without end")
        steps = pruner_by_name(pruner, baseline.epochs * most_views(baseline, session.settings.dimensions))
        workers.start(session.inputs(bank, bank_quota))
        if study is None:
            workers.check(baseline)  # what is not available is said before there is a study
            study = optuna.create_study(study_name=name, storage=database, direction="maximize", load_if_exists=True)
        study.sampler, study.pruner = samplers.Sampler(sampler, seed, without), steps
        with lock.held(study) as hold, lock.signed(hold):
            session = session.store(study)
            if old is not None:
                _take_over(session, old, console)
            if left := queue.put_back(hold):
                console.say(f"back in the queue from a search that died: trial {', '.join(map(str, left))}")
            if others := study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                numbers = ", ".join(str(trial.number) for trial in others)
                console.say(f"left alone, for another program runs it: trial {numbers}")
            pinned = queue.queue_first(study, chosen, without["backbone"])
            default = pinned if chosen.first else _SAMPLE_TRIALS if session.settings.data == SAMPLE else _TRIALS
            goal = default if trials is None else trials
            study.set_user_attr(GOAL, goal)
            done = finished(study)
            if len(done) >= goal:
                console.say(f"\n{len(done)} trials are finished and --trials is {goal}: nothing to do")
                end = "nothing to do"
            else:
                console.search(done, goal, workers.names)
                plan = Plan(goal, deadline, order, sampler == "grid")
                objective = Objective(session, writes=hold.check)
                end = _run(Search(hold, objective, workers, plan, console), console)
                study.set_user_attr(EXHAUSTED, end == "exhausted")
    if end == "exhausted":
        console.say(f"\nthe space is exhausted: all of its {len(order or [])} configurations were drawn")
    elif end == "time":
        console.say(f"\n--timeout {timeout:g}: time is over; the same command goes on")
    waiting = summary.waiting_for(session)
    return Result(session, end, summary.summary(study, shown(database.url), session.split, waiting))


def _run(search: Search, console: Progress) -> str:
    try:
        return search.run()
    except KeyboardInterrupt:
        console.say("the trials in hand are back in the queue; the same command goes on where this one stopped")
        raise
    finally:
        console.close()


def _take_over(session: Session, old: optuna.Study, console: Progress) -> None:
    copied, others = queue.take_over(session, old, _trainer(session, "cpu").weights)
    console.say(f"copied   {copied} trials of {old.study_name}; {len(others)} do not fit")
    for line in others[:3]:
        console.say(f"         {line}")


def dry_run(
    space: str,
    console: Progress,
    *,
    data: str | Path | None = None,
    seed: int = 0,
    devices: str = "auto",
    spaces: Path | None = None,
    **options: Any,
) -> str:
    """What a search would do: the space's dimensions, one recipe drawn from it, and its cost; nothing is kept.

    `options` are those of `search`; the others say nothing here."""
    from milair.console.costs import costs

    choices = {name: options.get(name) for name in ("weights", "views", "overrides", "only", "objects", "split")}
    session = open_session(_space(space, spaces), None, data=data, progress=console.advance, **choices)
    console.say(summary.describe(session, places.places(devices), places.threads(1)))
    return costs(session, _trainer(session, devices), seed)


def retrain(
    study: str,
    *,
    trial: int | None = None,
    on: str = "train",
    seeds: int = 1,
    out: Path | None = None,
    devices: str = "auto",
    studies: Path = Path("studies"),
    storage: str | None = None,
    bank: Path | None = None,
    bank_quota: float = QUOTA,
    console: Progress | None = None,
    **moved: Any,
) -> "list[Retrained]":
    """Train the best trial of a study again, or that of a number, and save a model for each of `seeds` seeds.

    `on`: "train", or "all" frames. `out`: the folder of the first model; else models/NAME-TRIAL in `studies`. `moved`
    may say where `data` and `weights` lie now."""
    from milair.study import retraining

    console = console or Progress()
    session = open_session(None, _study(study, studies, storage), progress=console.advance, **moved)
    chosen = pick(_study_of(session), trial)
    name = _study_of(session).study_name
    console.say(f"milair {__version__}, trial {chosen.number} of {name} (score {chosen.value:.4f})")
    if session.settings.training != TRAINING:
        console.say(
            f"the study is of an incompatible version ({session.settings.training}, now {TRAINING}): "
            "its scores do not repeat"
        )
    trainer = _trainer(session, devices, bank, bank_quota, everything=on == "all", progress=console.advance)
    models = []
    for model in retraining.retrain(
        session,
        trainer,
        chosen,
        out or summary.model_folder(studies / "models", name, chosen.number),
        seeds=seeds,
        everything=on == "all",
        listen=lambda recipe, epoch: console.advance(f"seed {recipe.seed}", epoch.number, recipe.epochs, epoch.score),
    ):
        console.say(f"{model}\nsaved in {model.folder}")
        models.append(model)
    return models


def load(folder: str | Path, device: str = "auto") -> "Detector":
    """The model of a folder that `retrain` saved. MilairError if it does not hold one."""
    from milair.model import detector

    return detector.load(Path(folder), places.open_device(device))


def predict(model: "str | Path | Detector", images: Iterable[Any], device: str = "auto") -> "Iterator[Prediction]":
    """Predictions for paths, PIL pictures or arrays uint8 [height, width, 3], in their order."""
    detector = load(model, device) if isinstance(model, str | Path) else model
    return detector.predict(images)


def report(
    study: str,
    *,
    against: str | None = None,
    out: Path | None = None,
    data: str | Path | None = None,
    studies: Path = Path("studies"),
    storage: str | None = None,
    spaces: Path | None = None,
    console: Progress | None = None,
) -> Path:
    """Write a study as one HTML page and as Markdown, compared with another study on the same frames if `against`
    names one; the page's path."""
    from milair.reporting import report as reporting

    console = console or Progress()
    sessions = []
    for name in [study] if against is None else [study, against]:
        opened = _study(name, studies, storage)
        session = open_session(None, opened, data=data, progress=console.advance)
        chosen = _space(session.settings.space, spaces).narrowed(session.settings.only)
        sessions.append(replace(session, space=chosen))
    folder = out or studies / "reports" / _study_of(sessions[0]).study_name
    return reporting.write(folder, *sessions)


def objective(
    space: str,
    *,
    data: str | Path | None = None,
    device: str = "auto",
    spaces: Path | None = None,
    bank: Path | None = None,
    **choices: Any,
) -> Objective:
    """The objective of a space on a folder of frames (the sample if None), for a notebook or another engine.

    `choices` are those of `study.settings.new_settings`: weights, views, overrides, only, objects, split."""
    session = open_session(_space(space, spaces), None, data=data, **choices)
    return Objective(session, _trainer(session, device, bank))


def _space(name: str, folder: Path | None) -> Space:
    return load_space(name, folder or default_folder())


def _study(name: str, studies: Path, storage: str | None) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return load_study(open_storage(storage or default_url(studies), create=False), name)


def _study_of(session: Session) -> optuna.Study:
    assert session.study is not None
    return session.study


def _trainer(
    session: Session,
    device: str,
    bank: Path | None = None,
    quota: float = QUOTA,
    *,
    everything: bool = False,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> "Trainer":
    from milair.training.trainer import Trainer

    return Trainer(session.inputs(bank, quota, everything), places.open_device(device), progress)
