"""`python -m milair.studies`: list and show studies, rename or delete them, and put the disk in order."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milair.console.command import command, leave
from milair.console.options import add_studies, parser, place_options, program, storage_url, whole
from milair.errors import MilairError, UsageError

if TYPE_CHECKING:
    import optuna

    from milair.console.progress import Progress
    from milair.frames.frame import Split


def arguments() -> argparse.ArgumentParser:
    made = parser(
        "studies",
        "List and show studies, rename or delete them, and put the disk in order.",
        "python -m milair.studies show heads@frames",
    )
    actions = made.add_subparsers(required=True, metavar="ACTION")
    places = _places()

    def action(name: str, act: Callable[[argparse.Namespace, Progress], None], text: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=text, description=text, parents=[places])
        added.set_defaults(act=act)
        return added

    listed = action("list", list_studies, "every study, its state and its best score")
    shown = action("show", show, "a study's settings, its best trials, its trouble, and what to run next")
    repeated = action("again", again, "queue trials of a study once more, with other seeds, to see how far they spread")
    renamed = action("rename", rename, "give a study another name; its models stay where they are")
    deleted = action("delete", delete, "delete a study with all of its trials; its models stay")
    cleaned = action("clean", clean, "remove all features kept on disk, and give trials of dead workers back")
    for named in (shown, repeated, renamed, deleted):
        named.add_argument("name", metavar="NAME", help="heads@frames, or heads if there is only one")
    repeated.add_argument("trials", metavar="TRIAL", type=whole(0), nargs="+", help="its number; it is complete")
    repeated.add_argument(
        "--seeds", metavar="N", type=whole(1), default=2, help="so many more each; default: %(default)s"
    )
    renamed.add_argument("new", metavar="NEW", help="its name from then on")
    for told in (listed, shown):
        told.add_argument("--json", action="store_true", help="the same as JSON")
    deleted.add_argument("--yes", action="store_true", help="ask nothing")
    cleaned.add_argument("--dry-run", action="store_true", help="say what would be done, and change nothing")
    return made


def _places() -> argparse.ArgumentParser:
    """Options of every action."""
    made = argparse.ArgumentParser(add_help=False)
    made.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show the traceback of an error")
    add_studies(made)
    return made


def list_studies(options: argparse.Namespace, console: Progress) -> None:
    from milair.console.table import table
    from milair.study import storage

    rows = [_row(found) for found in _studies(options)]
    if options.json:
        print(json.dumps(rows, indent=2))
    elif rows:
        console.say(table([{"last active" if name == "active" else name: row[name] for name in row} for row in rows]))
    else:
        search = shlex.join([program("python"), "-m", "milair.search", "--study", "heads", *place_options(options)])
        console.say(f"no studies in {storage.shown(storage_url(options))}; `{search}` makes one")


def show(options: argparse.Namespace, console: Progress) -> None:
    from milair.console import summary
    from milair.study import results as study
    from milair.study import storage

    found = _load(options)
    settings = found.user_attrs.get(study.SETTINGS, {})
    split = _split(settings)
    told = summary.summary(found, storage.shown(storage_url(options)), split)
    if options.json:
        print(json.dumps(told | {"settings": settings}, indent=2))
        return
    goal = "" if told["goal"] is None else f" of {told['goal']}"
    console.say(f"{'storage':<12} {told['storage']}")
    console.say(f"{'state':<12} {told['state']}, {told['finished']}{goal} trials")
    console.say("\n".join(_identity(settings)))
    pictures = None if split is None else split.val[0].path.parent
    console.say(summary.text(told, place_options(options), options.studies / "models", pictures))


def again(options: argparse.Namespace, console: Progress) -> None:
    from milair.study import results as study

    found = _load(options)
    study.stored_settings(found)  # one that another program made has no seeds
    study.queue_again(found, dict.fromkeys(options.trials), options.seeds)
    counts = Counter(trial.state.name for trial in found.get_trials(deepcopy=False))
    total = sum(counts.values()) - counts["FAIL"]
    console.say(f"{counts['WAITING']} trials wait in {found.study_name}; its search trains them with --trials {total}")


def rename(options: argparse.Namespace, console: Progress) -> None:
    import optuna
    from sqlalchemy import text

    from milair.study import storage

    found = _load(options)
    database, old, new = storage.of(found), found.study_name, options.new
    if not new.strip():
        raise UsageError("NEW is empty; a study needs a name")
    with storage.alone(found):
        _refuse_running(found, "renamed")
        if new in optuna.get_all_study_names(database):
            raise MilairError(f"there is a study {new} already")
        with database.engine.begin() as connection:
            statement = text("UPDATE studies SET study_name = :new WHERE study_id = :id")
            connection.execute(statement, {"new": new, "id": found._study_id})
    console.say(f"{old} is {new} now; a search goes on with it by --name {shlex.quote(new)}")
    _tell_models(found, options, console)


def delete(options: argparse.Namespace, console: Progress) -> None:
    """The room in SQLite's file is used again by the next trials; the file does not shrink."""
    import optuna

    from milair.study import storage

    found = _load(options)
    _refuse_running(found, "deleted")
    if not options.yes:
        _ask(found)
    trials = len(found.get_trials(deepcopy=False))
    with storage.alone(found):
        _refuse_running(found, "deleted")
        _tell_models(found, options, console)
        optuna.delete_study(study_name=found.study_name, storage=storage.of(found))
    console.say(f"{found.study_name} is deleted, with {trials} trials")


def clean(options: argparse.Namespace, console: Progress) -> None:
    from milair.study import session as setup

    for found in _studies(options):
        _give_back(found, options.dry_run, console)
    _free(options.bank or setup.cache_folder() / "banks", options.dry_run, console)


def _studies(options: argparse.Namespace) -> list[optuna.Study]:
    """All studies; none where --studies has no database yet. MilairError if --storage names one that is not there."""
    import optuna

    from milair.study import storage

    url = storage_url(options)
    if options.storage is None and not Path(url.removeprefix("sqlite:///")).is_file():
        return []
    opened = storage.open_storage(url, create=False)
    return [optuna.load_study(study_name=name, storage=opened) for name in optuna.get_all_study_names(opened)]


def _load(options: argparse.Namespace) -> optuna.Study:
    from milair.study import storage

    return storage.load_study(storage.open_storage(storage_url(options), create=False), options.name)


def _row(found: optuna.Study) -> dict[str, Any]:
    """A study in short; None is what cannot be said of it."""
    from milair.study import results as study

    trials = found.get_trials(deepcopy=False)
    counts = Counter(trial.state.name for trial in trials)
    times = [time for trial in trials for time in (trial.datetime_start, trial.datetime_complete) if time is not None]
    return {
        "study": found.study_name,
        "state": study.state(found),
        "complete": counts["COMPLETE"],
        "pruned": counts["PRUNED"],
        "failed": counts["FAIL"],
        "waiting": counts["WAITING"],
        "score": _best(found),
        "data": found.user_attrs.get(study.SETTINGS, {}).get("data"),
        "active": max(times).isoformat(" ", "minutes") if times else None,
    }


def _best(found: optuna.Study) -> float | None:
    """The best value of a study; None if it has none yet, or several objectives."""
    with suppress(ValueError, RuntimeError):
        return found.best_value
    return None


def _split(settings: dict[str, Any]) -> Split | None:
    """The frames of a study, split; None if they are not where it had them, or others are."""
    from milair.frames.split import split
    from milair.study import session as setup

    with suppress(MilairError):
        mine = setup.Settings.from_json(settings)
        frames = setup.read_frames(mine.data, mine.objects)
        if setup.same_settings(mine, frames) == mine:
            return split(frames.labelled, mine.split_kind)
    return None


def _identity(settings: dict[str, Any]) -> list[str]:
    """Settings as they are stored, a line each, and what the space varies."""
    from milair.console import summary

    if not settings:
        return ["settings     none: milair did not make it"]
    lines = []
    for name, value in settings.items():
        if name != "dimensions" and value != {}:
            shown = ", ".join(f"{key} {part}" for key, part in value.items()) if isinstance(value, dict) else value
            lines.append(f"{name:<12} {shown}")
    return [*lines, "dimensions", *summary.dimensions(settings["dimensions"])]


def _refuse_running(found: optuna.Study, done: str) -> None:
    from milair.study import results as study

    if study.state(found) == "running":
        raise MilairError(f"study {found.study_name} is running; it can be {done} when its search has ended")


def _ask(found: optuna.Study) -> None:
    """MilairError unless a person agrees that the study is lost; UsageError where there is nobody to ask."""
    if not sys.stdin.isatty():
        raise UsageError(f"--yes is needed to delete {found.study_name} where nobody can be asked")
    trials, best = len(found.get_trials(deepcopy=False)), _best(found)
    score = "" if best is None else f", best score {best:.4f}"
    try:
        answer = input(f"delete {found.study_name} with {trials} trials{score}? [y/N] ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise MilairError(f"{found.study_name} is not deleted")


def _tell_models(found: optuna.Study, options: argparse.Namespace, console: Progress) -> None:
    """Say which models were made from a study; they are nobody's to move or to remove but the person's."""
    from milair.console import summary

    for trial in found.get_trials(deepcopy=False):
        place = summary.model_folder(options.studies / "models", found.study_name, trial.number)
        if place.is_dir():
            console.say(f"the model of trial {trial.number} stays in {place}")


def _give_back(found: optuna.Study, dry_run: bool, console: Progress) -> None:
    """Trials of dead workers wait again. Other programs do not sign theirs: nobody can tell who runs those."""
    from milair.study import queue, storage
    from milair.study import results as study

    if study.SETTINGS not in found.user_attrs:
        return
    with storage.alone(found):
        left = [str(trial.number) for trial in queue.left_behind(found)]
        if not dry_run:
            queue.reclaim(found, blame=False)
    if left:
        what = "would go" if dry_run else "went"
        console.say(f"{found.study_name}: {what} back to the queue from dead workers: trial {', '.join(left)}")


def _free(folder: Path, dry_run: bool, console: Progress) -> None:
    """Remove the banks of a folder, but for those that are being computed, and say how large they were."""
    from milair.features import quota

    total = 0
    for place in quota.banks(folder):
        freed = quota.size(place) if dry_run else quota.remove(place)
        stays = not dry_run and place.exists()
        console.say(f"{place.name}  {'stays: it is being computed' if stays else f'{freed / 1e6:.1f} MB'}")
        total += freed
    what = "would be freed" if dry_run else "freed"
    console.say(f"{total / 1e6:.1f} MB of features {what} in {folder}; they are computed again when they are needed")


@command(arguments)
def main(options: argparse.Namespace, console: Progress) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    options.act(options, console)


if __name__ == "__main__":
    leave(main())
