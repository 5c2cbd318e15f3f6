"""What the commands do, as functions that return values: search, retrain, report, load, predict, export, objective."""

from argparse import Namespace
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import optuna

from milair import __version__
from milair import space as spaces_
from milair.console import summary
from milair.console.options import where_options
from milair.console.progress import Progress
from milair.errors import UsageError
from milair.features import QUOTA
from milair.models import export as export
from milair.models import load as load
from milair.models import predict as predict
from milair.study import artifacts, pruners, queue, results, running, samplers, searching
from milair.study import storage as storages
from milair.study.arms import CONFIRMS
from milair.study.confirming import Confirmation
from milair.study.dashboard import Board
from milair.study.objective import Objective
from milair.study.session import Session, data_place, open_session
from milair.study.settings import TRAINING, most_views
from milair.training import devices as places
from milair.workers.engines import pool

if TYPE_CHECKING:  # torch, which a search leaves to its workers
    from milair.study.retraining import Combined, Retrained
    from milair.study.serving import Server
    from milair.training.in_process import Trainer


@dataclass(frozen=True)
class Result:
    """What a search came to: a plain Optuna study, its session, and the summary that the command prints."""

    study: optuna.Study
    session: Session
    end: str  # "goal", "exhausted" or "time"
    summary: dict[str, Any]


def search(
    space: str,
    *,
    data: str | Path | None = None,
    trials: int | None = None,
    timeout: float | None = None,
    devices: str = "auto",
    per_device: int = 1,
    engine: str = "local",
    address: str | None = None,
    workers: int | None = None,
    ship: bool = False,
    name: str | None = None,
    copy_from: str | None = None,
    sampler: str = "tpe",
    pruner: str | None = None,
    confirm: int | None = None,
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

    `choices` are those of `study.settings.new_settings`: weights, views, overrides, only, limits, objects, split.
    Then what may be the best is trained again at most `confirm` times, with other seeds: see study/confirming.py; None:
    a tenth of `trials` where these were trained in one fold only, else never.
    `timeout` in seconds: no trial begins later, and in its last part what may be the best goes first. `storage`: the
    database's URL, else milair.db in `studies`. `engine`: "local", or "ray" with the cluster's `address`, at most so
    many `workers`, and `ship` for frames and weights that its nodes do not have. MilairError says what is wrong, in a
    line; KeyboardInterrupt leaves trials in hand in the queue."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    console = console or Progress()
    chosen = _space(space, spaces)
    began, time = monotonic(), float("inf") if timeout is None else timeout
    with pool(engine, devices, per_device, address, workers, ship, bank, console.say, debug) as crew:
        database = storages.open_storage(storage or storages.default_url(studies))
        name = name or f"{chosen.name}@{Path(data_place(data)).name}"
        shown = storages.shown(database.url)
        console.say(f"milair {__version__}, study {name} in {shown}\n{chosen.question}\n")
        if copy_from == name:
            raise UsageError(f"--copy-from {name}: that is the study itself; --name NAME names the new one")
        old = None if copy_from is None else storages.load_study(database, copy_from)
        existing = name in optuna.get_all_study_names(database)
        study = optuna.load_study(study_name=name, storage=database) if existing else None
        enough = study is not None and trials is not None and results.is_through(study, trials, confirm)
        if not enough:
            crew.begin()  # they import torch while the frames are read
        session = open_session(chosen, study, data=data, progress=console.advance, **choices)
        chosen, without = session.space, {"backbone": session.settings.lacking()}
        queue.first(chosen)  # what the space cannot give is refused before there is a study
        baseline = session.recipe(chosen.baseline)
        console.say(summary.describe(session, crew.describe()))
        order = samplers.shuffled(chosen, seed, without, sampler == "grid")
        passes = baseline.epochs * most_views(baseline, session.settings.dimensions)
        if not enough:
            crew.start(session.inputs(bank, bank_quota))
        if study is None:  # what is not available is said before there is one
            console.say(summary.needs(crew.check(session.training(baseline), began + time, console.say), bank_quota))
            study = optuna.create_study(study_name=name, storage=database, direction="maximize", load_if_exists=True)
        folds = session.truth if session.by_folds else None
        study.sampler, study.pruner = samplers.Sampler(sampler, seed, without), pruners.pruner(pruner, passes, folds)
        goal = queue.default_goal(session) if trials is None else trials
        budget = pruners.confirmations(study.pruner, goal) if confirm is None else confirm
        if budget and confirm is None:
            console.say(
                f"folds    trials train the first one; {budget} that may be the best then train all of another cut"
            )
        turn = began + time * (searching.TURN if budget else 1)
        confirmation = Confirmation(session.truth, budget)
        plan = searching.Plan(goal, confirmation, began + time, turn, order, sampler == "grid")
        copied = old, lambda recipe: _trainer(session, "cpu").weights(recipe)
        where = where_options(Namespace(studies=studies, storage=storage))
        board = partial(Board, session, place=artifacts.folder(studies), words=where)
        run = partial(running.run, session, study, crew, plan, console, *copied, board)
        end = running.apart(run, crew.interrupt)
    if end == "exhausted":
        console.say(f"\nthe space is exhausted: all of its {len(order or [])} configurations were drawn")
    elif end == "time":
        console.say(f"\n--timeout {timeout:g}: time is over; the same command goes on")
    return Result(study, session, end, summary.summary(study, shown, session, summary.waiting_for(session)))


def confirm(study: str, *, trainings: int, studies: Path = Path("studies"), **options: Any) -> Result:
    """Train what may be the best of a study again, at most so many times, until one stands out.

    `options` are those of `search`; the study's search goes on with it, and draws no more trials than it has."""
    loaded = _study(study, studies, options.get("storage"))
    space, counted = results.stored_settings(loaded).space, len(results.counted(loaded))
    budget = trainings + sum(CONFIRMS in trial.user_attrs for trial in loaded.get_trials(deepcopy=False))
    return search(space, name=loaded.study_name, trials=counted, confirm=budget, studies=studies, **options)


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

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    names = ("weights", "views", "overrides", "only", "limits", "objects", "split")
    choices = {name: options.get(name) for name in names}
    session = open_session(_space(space, spaces), None, data=data, progress=console.advance, **choices)
    queue.first(session.space)
    console.say(summary.describe(session, ", ".join(places.places(devices))))
    return costs(session, _trainer(session, devices), seed)


def retrain(
    study: str,
    *,
    trial: int | None = None,
    top: int = 1,
    on: str = "train",
    seeds: int = 1,
    flip: bool = False,
    unfreeze: int = 0,
    out: Path | None = None,
    devices: str = "auto",
    engine: str = "local",
    address: str | None = None,
    workers: int | None = None,
    ship: bool = False,
    studies: Path = Path("studies"),
    storage: str | None = None,
    bank: Path | None = None,
    bank_quota: float = QUOTA,
    console: Progress | None = None,
    debug: bool = False,
    **moved: Any,
) -> "list[Retrained | Combined]":
    """Train the best trial of a study again, or its `top` best, or that of a number, with so many `seeds` each.

    Each model is saved; several are also put together, with `flip` on mirrored pictures as well if validation prefers
    it. `on`: "train", or "all" frames. With `unfreeze` each goes on with so many last blocks of its backbone trained
    too, and stays so if validation prefers it. `out`: the folder of the first one; else models/NAME-TRIAL in `studies`.
    One device trains in this process; several `devices`, or the workers of an `engine` as in `search`, at once. `moved`
    may say where `data` and `weights` lie now."""
    from milair.study import retraining, trainings

    if unfreeze and (engine != "local" or "," in devices):
        raise UsageError("--unfreeze trains the backbone in this process: --devices names one, and no --engine")
    if unfreeze and on == "all":
        raise UsageError("--unfreeze keeps what validation prefers, and --on all leaves nothing to validate on")
    console = console or Progress()
    session = open_session(None, _study(study, studies, storage), progress=console.advance, **moved)
    if unfreeze and session.by_folds:
        raise UsageError("--unfreeze keeps what validation frames prefer, and by folds each model has others")
    trials, name = results.pick(session.study, trial, top), session.study.study_name
    for chosen in trials:
        console.say(f"milair {__version__}, trial {chosen.number} of {name} (score {chosen.value:.4f})")
    if session.settings.training != TRAINING:
        versions = f"({session.settings.training}, now {TRAINING})"
        console.say(f"the study is of an incompatible version {versions}: its scores do not repeat")
    trainer = _trainer(session, devices, bank, bank_quota, progress=console.advance)
    run, models = retraining.Retraining(session, trainer, on == "all", console.advance, unfreeze=unfreeze), []
    if engine == "local":
        count = 1 if unfreeze else len(trials) * seeds * (1 if on == "all" else len(session.splits()))
        devices = ",".join(places.places(devices)[:count])
    with pool(engine, devices, 1, address, workers, ship, bank, console.say, debug) as crew:
        if engine != "local" or len(crew.names) > 1:
            crew.begin()
            crew.start(trainer.inputs)
            run.source = trainings.by_workers(crew, console.say)
        for model in run(trials, out or summary.model_folder(studies, name, trials[0].number), seeds, flip):
            console.say("\n".join(filter(None, (str(model), model.note, f"saved in {model.folder}"))))
            models.append(model)
    return models


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
    **_: Any,
) -> Path:
    """Write a study as one HTML page and as Markdown, compared with another study on the same frames if `against`
    names one; the page's path."""
    from milair.reporting import sections

    console = console or Progress()
    sessions = []
    for name in [study] if against is None else [study, against]:
        session = open_session(None, _study(name, studies, storage), data=data, progress=console.advance)
        session.space = _space(session.settings.space, spaces).narrowed(session.settings.only)
        sessions.append(session)
    return sections.write(out or studies / "reports" / sessions[0].study.study_name, *sessions)


def dashboard(
    study: str, *, port: int | None = None, studies: Path = Path("studies"), storage: str | None = None
) -> "AbstractContextManager[Server]":
    """A block in which a study can be served in optuna-dashboard, to this machine: `with dashboard(…) as server`."""
    from milair.study.serving import listening

    return listening(_study(study, studies, storage), artifacts.folder(studies), port)


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

    `choices` are those of `study.settings.new_settings`: weights, views, overrides, only, limits, objects, split."""
    session = open_session(_space(space, spaces), None, data=data, **choices)
    return Objective(session, _trainer(session, device, bank))


def _space(name: str, folder: Path | None) -> spaces_.Space:
    return spaces_.load(name, folder or spaces_.default_folder())


def _study(name: str, studies: Path, storage: str | None) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return storages.load_study(storages.open_storage(storage or storages.default_url(studies), create=False), name)


def _trainer(session: Session, device: str, bank: Path | None = None, quota: float = QUOTA, **more: Any) -> "Trainer":
    from milair.training.in_process import Trainer

    return Trainer(session.inputs(bank, quota), places.open_device(device), **more)
