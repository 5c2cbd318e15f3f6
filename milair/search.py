"""`python -m milair.search`: run a search space as a study, or go on with it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from milair import __version__
from milair.console import cli
from milair.errors import UsageError

if TYPE_CHECKING:
    import optuna

    from milair.console.progress import Progress
    from milair.recipe import Recipe
    from milair.space import Space
    from milair.study.session import Setup
    from milair.workers.supervisor import Process
    from milair.workers.worker import Job

_TRIALS, _SAMPLE_TRIALS = 40, 12
_SHARE = 100  # trials after which a worker makes way for a fresh one
_FOREVER = 1e9  # seconds
_SHOWN = 3  # reasons of one kind


def arguments() -> argparse.ArgumentParser:
    made = cli.parser(
        "search",
        "Search a space for the best recipe. The same command again goes on with the study, up to --trials in all.",
        "python -m milair.search --study heads --data my/frames --trials 40",
    )
    made.add_argument(
        "--study", required=True, metavar="SPACE", help="a file of search_spaces/ (heads), or a path to one"
    )
    made.add_argument("--data", metavar="DIR", help="folder of labelled frames; default: the built-in sample")
    cli.add_frames(made)
    made.add_argument(
        "--weights", metavar="W", help="imagenet, random, FILE or DIR; default: imagenet (sample: random)"
    )
    made.add_argument(
        "--trials",
        type=cli.whole(0),
        metavar="N",
        help="finished trials in all; default: 40 (sample: 12; a space with FIRST: all of these)",
    )
    made.add_argument("--timeout", type=float, metavar="S", help="begin no trial after S seconds")
    made.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="fix a field of every recipe")
    made.add_argument(
        "--only", action="append", default=[], metavar="FIELD=A,B", help="of the space's choices, only these"
    )
    made.add_argument("--epochs", type=cli.whole(1), metavar="N", help="the same as --set epochs=N")
    made.add_argument(
        "--views",
        type=cli.whole(1),
        metavar="K",
        help="augmented views of a picture in the bank; default: 12 (sample: 4)",
    )
    made.add_argument("--name", help="name of the study; default: SPACE@DATA")
    made.add_argument("--copy-from", metavar="OLD", help="begin with the finished trials of study OLD that still fit")
    made.add_argument("--spaces", type=Path, metavar="DIR", help="default: search_spaces")
    made.add_argument("--sampler", choices=("tpe", "random", "grid"), default="tpe", help="default: tpe")
    made.add_argument(
        "--pruner", choices=("median", "asha", "hyperband", "none"), default="median", help="default: median"
    )
    made.add_argument("--seed", type=cli.whole(0), default=0, metavar="N", help="the sampler's; default: 0")
    made.add_argument("--dry-run", action="store_true", help="show what would be searched, and train nothing")
    made.add_argument("--json", action="store_true", help="the summary as JSON on stdout, progress on stderr")
    cli.add_places(made, several=True)
    made.add_argument("--per-device", type=cli.whole(1), default=1, metavar="K", help="workers for each; default: 1")
    return made


def command(options: argparse.Namespace) -> None:
    from milair import space
    from milair.training import devices
    from milair.workers import supervisor

    chosen = space.load(options.study, options.spaces or space.default_folder())
    workers = devices.places(options.devices, options.per_device)
    count = 0 if options.dry_run else len(workers)
    with supervisor.waiting(count, devices.threads(len(workers)), options.debug) as waiting:
        _search(options, chosen, workers, waiting)


def _search(options: argparse.Namespace, chosen: Space, workers: list[str], waiting: list[Process]) -> None:
    import optuna

    from milair.console import summary
    from milair.console.progress import Progress
    from milair.study import results as study
    from milair.study import session as setup
    from milair.study import storage

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    console = Progress(sys.stderr if options.json else sys.stdout)
    url = cli.storage_url(options)
    data = setup.data_place(options.data)
    name = options.name or f"{chosen.name}@{Path(data).name}"
    console.say(f"milair {__version__}, study {name} in {storage.shown(url)}\n{chosen.question}\n")
    opened = None if options.dry_run else storage.open_storage(url)
    stored = study.settings_of(opened, name) if opened else None
    if stored is not None and options.data is None:
        data = stored.data
    objects = options.objects or (stored.objects if stored else "largest")
    frames = setup.read_frames(data, objects, console.features)
    settings = setup.new_settings(
        chosen,
        data,
        frames,
        weights=options.weights,
        views=options.views,
        overrides=cli.pairs("--set", options.set) | ({"epochs": str(options.epochs)} if options.epochs else {}),
        only={name: text.split(",") for name, text in cli.pairs("--only", options.only).items()},
        objects=objects,
        split_kind=options.split,
        stored=stored,
    )
    chosen = chosen.narrowed(settings.only)
    shared = setup.open_setup(settings, frames, workers[0] if options.dry_run else "cpu", options.bank, console)
    console.say(_describe(shared, shared.recipe(chosen.baseline), workers))
    if opened is None:
        console.say(summary.dry_run(chosen, shared, options.seed))
        return
    old = None if options.copy_from is None else storage.load_study(opened, options.copy_from)
    if old is not None and old.study_name == name:
        raise UsageError(f"--copy-from {name}: that is the study itself; --name NAME names the new one")
    baseline = shared.recipe(chosen.baseline)
    shared.check(baseline)  # what cannot be had is said before there is a study
    found = study.open_or_create(opened, name, settings)
    if old is not None:
        _take_over(found, old, chosen, shared, console)
    _go_on(options, found, chosen, shared, workers, waiting, console)
    result = summary.summary(found, storage.shown(url), shared.split, waiting_for=summary.waiting_for(chosen, shared))
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        pictures = shared.split.val[0].path.parent
        console.say(summary.text(result, cli.places(options), options.studies / "models", pictures))


def _take_over(found: optuna.Study, old: optuna.Study, chosen: Space, shared: Setup, console: Progress) -> None:
    from milair.study import results as study

    taken, others = study.take_over(found, old, chosen, shared.settings, shared.weights)
    console.say(f"copied   {taken} trials of {old.study_name}; {len(others)} do not fit")
    for line in others[:_SHOWN]:
        console.say(f"         {line}")


def _go_on(
    options: argparse.Namespace,
    found: optuna.Study,
    chosen: Space,
    shared: Setup,
    workers: list[str],
    waiting: list[Process],
    console: Progress,
) -> None:
    """Run what is missing to the total of trials that was asked for."""
    from milair.study import queue, storage
    from milair.study import results as study
    from milair.study import session as setup
    from milair.workers import supervisor

    with storage.alone(found):
        left = queue.reclaim(found)
    if left:
        console.say(f"back in the queue from workers that died: trial {', '.join(map(str, left))}")
    without = {"backbone": shared.settings.lacking()}
    pinned = study.queue_pinned(found, chosen, without["backbone"])
    finished = study.finished(found)
    default = _SAMPLE_TRIALS if shared.settings.data == setup.SAMPLE else _TRIALS
    goal = options.trials if options.trials is not None else pinned if chosen.first else default
    configurations = study.configurations(chosen, without)
    if options.sampler == "grid" and configurations is None:
        raise UsageError(f"--sampler grid: the space {chosen.name} is too large, or without end")
    found.set_user_attr(study.GOAL, goal)
    if len(finished) >= goal:
        console.say(f"\n{len(finished)} trials are finished and --trials is {goal}: nothing to do")
        return
    console.search(finished, goal, supervisor.names(workers))
    try:
        job = _job(options, found, chosen, goal, workers)
        with study.searched(found):
            end = supervisor.Supervisor(found, job, workers, console, waiting).run()
    except KeyboardInterrupt:
        console.say("the trials in hand are back in the queue; the same command goes on where this one stopped")
        raise
    finally:
        console.close()
    found.set_user_attr(study.EXHAUSTED, end == "exhausted")
    if end == "exhausted":
        console.say(f"\nthe space is exhausted: all of its {len(configurations or [])} configurations were drawn")
    elif end == "time":
        console.say(f"\n--timeout {options.timeout:g}: time is over; the same command goes on")


def _job(options: argparse.Namespace, found: optuna.Study, chosen: Space, goal: int, workers: list[str]) -> Job:
    from milair.training import devices
    from milair.workers.worker import Job

    return Job(
        storage=cli.storage_url(options),
        study=found.study_name,
        space=str(chosen.path.resolve()),
        device="",  # the supervisor gives each worker one
        threads=devices.threads(len(workers)),
        bank=None if options.bank is None else str(options.bank),
        bank_quota=options.bank_quota,
        goal=goal,
        deadline=monotonic() + (_FOREVER if options.timeout is None else options.timeout),
        share=_SHARE,
        sampler=options.sampler,
        pruner=options.pruner,
        seed=options.seed,
        debug=options.debug,
    )


def _describe(shared: Setup, baseline: Recipe, workers: list[str]) -> str:
    """The data, the weights and the devices, in a few lines."""
    from milair.frames.split import describe
    from milair.training import devices

    settings = shared.settings
    fixed = ", ".join(f"{path} {value}" for path, value in settings.overrides.items() if path != "weights")
    weights = "random (seeded)" if baseline.weights == "random" else f"pretrained ({settings.source})"
    lines = [
        shared.frames.describe(),
        describe(shared.split, settings.split),
        f"weights  {weights}",
        f"devices  {', '.join(workers)}; threads for each: {devices.threads(len(workers))}",
    ]
    return "\n".join(lines + ([f"fixed    {fixed}"] if fixed else []))


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(command, arguments(), argv)


if __name__ == "__main__":
    cli.leave(main())
