"""What `milair.studies` prints: the shelf of studies, and what is done to them."""

import json
import shlex
import sys
from argparse import Namespace
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import optuna

from milair.console import summary
from milair.console.options import place_options, program
from milair.console.progress import Progress
from milair.console.table import table
from milair.errors import MilairError, UsageError
from milair.features import quota
from milair.frames.pictures import cache_folder
from milair.space import default_folder
from milair.study import artifacts, packing, queue, results, session, storage, upkeep
from milair.study.settings import SAMPLE

optuna.logging.set_verbosity(optuna.logging.ERROR)


def list_studies(options: Namespace, console: Progress) -> None:
    rows = [upkeep.row(study) for study in _studies(options)]
    if options.json:
        print(json.dumps(rows, indent=2))
    elif rows:
        console.say(table([row | {"last active": row.pop("active")} for row in rows]))
    else:
        search = shlex.join([program("python"), "-m", "milair.search", "--study", "heads", *place_options(options)])
        console.say(f"no studies in {storage.shown(_url(options))}; `{search}` makes one")


def show(options: Namespace, console: Progress) -> None:
    """A study's settings as they are stored, a line each, what its space varies, and its summary."""
    study = _study(options)
    settings, opened = study.user_attrs.get(results.SETTINGS, {}), _session(study)
    result = summary.summary(study, storage.shown(_url(options)), opened)
    if options.json:
        print(json.dumps(result | {"settings": settings}, indent=2))
        return
    goal = "" if result["goal"] is None else f" of {result['goal']}"
    lines = {"storage": result["storage"], "state": f"{result['state']}, {result['finished']}{goal} trials"}
    for name, value in (settings or {"settings": "none: milair did not make it"}).items():
        if name != "dimensions" and value != {}:
            parts = (f"{key} {part}" for key, part in value.items()) if isinstance(value, dict) else [str(value)]
            lines[name] = ", ".join(parts)
    console.say("\n".join(f"{name:<12} {text}" for name, text in lines.items()))
    if settings:
        console.say("\n".join(["dimensions", *summary.dimensions(settings["dimensions"])]))
    console.say(summary.text(result, options, opened))


def again(options: Namespace, console: Progress) -> None:
    study = _study(options)
    results.stored_settings(study)  # one that another program made has no seeds
    queue.queue_again(study, dict.fromkeys(options.trials), options.seeds)
    counts = Counter(trial.state.name for trial in study.get_trials(deepcopy=False))
    total = counts.total() - counts["FAIL"]
    console.say(f"{counts['WAITING']} trials wait in {study.study_name}; its search trains them with --trials {total}")


def rename(options: Namespace, console: Progress) -> None:
    study = _study(options)
    upkeep.rename(study, options.new)
    console.say(
        f"{study.study_name} is {options.new} now; a search goes on with it by --name {shlex.quote(options.new)}"
    )
    _tell_models(study, options, console)


def delete(options: Namespace, console: Progress) -> None:
    study = _study(options)
    trials = len(study.get_trials(deepcopy=False))
    with upkeep.deleting(study, artifacts.folder(options.studies)):
        if not options.yes:
            _ask(study, trials)
        _tell_models(study, options, console)
    console.say(f"{study.study_name} is deleted, with {trials} trials")


def clean(options: Namespace, console: Progress) -> None:
    would, freed = ("would go", "would be freed") if options.dry_run else ("went", "freed")
    for study in _studies(options):
        if numbers := upkeep.put_back(study, options.dry_run):
            trials = ", ".join(map(str, numbers))
            console.say(f"{study.study_name}: {would} back to the queue from a search that died: trial {trials}")
    total, folder = 0, _bank(options)
    for place in quota.banks(folder):
        size = quota.size(place) if options.dry_run else quota.remove(place)
        stays = not options.dry_run and place.exists()
        console.say(f"{place.name}  {'stays: it is being computed' if stays else f'{size / 1e6:.1f} MB'}")
        total += size
    console.say(f"{total / 1e6:.1f} MB of features {freed} in {folder}; they are computed again when they are needed")


def pack(options: Namespace, console: Progress) -> None:
    study, bank = _study(options), _bank(options) if options.with_bank else None
    spaces = options.spaces or default_folder()
    packed = packing.pack(study, options.file, spaces, options.studies / "artifacts", bank)
    size = options.file.stat().st_size / 1e6
    console.say(f"{study.study_name} is packed in {options.file}, {size:.1f} MB: {_counts(packed, options.with_bank)}")


def unpack(options: Namespace, console: Progress) -> None:
    url, bank = _url(options), _bank(options)
    arrived = packing.unpack(options.file, url, options.studies, options.name, options.spaces, bank, options.bank_quota)
    study, settings = arrived.study, results.stored_settings(arrived.study)
    counts = _counts({"trials": arrived.trials, "artifacts": arrived.artifacts, "rows": arrived.rows}, arrived.rows > 0)
    console.say(f"{study.study_name} is unpacked in {storage.shown(url)}: {counts}")
    words = ["--study", settings.space, "--name", study.study_name]
    words += [] if arrived.spaces is None else ["--spaces", str(arrived.spaces)]
    words += [] if settings.data == SAMPLE else ["--data", Path(settings.data).name]
    if settings.source != "imagenet" and settings.overrides.get("weights") != "random":
        words += ["--weights", Path(settings.source).name]
    command = shlex.join([program("python"), "-m", "milair.search", *words, *place_options(options)])
    moved = "" if settings.data == SAMPLE else " (--data and --weights say where these lie now)"
    console.say(f"it goes on with `{command}`{moved}")


def _counts(counts: Mapping[str, int], with_bank: bool) -> str:
    rows = f", {counts['rows']} rows of features" if with_bank else ""
    return f"{counts['trials']} trials, {counts['artifacts']} artifacts{rows}, and its space"


ACTIONS = {
    "list": list_studies,
    "show": show,
    "again": again,
    "pack": pack,
    "unpack": unpack,
    "rename": rename,
    "delete": delete,
    "clean": clean,
}


def _bank(options: Namespace) -> Path:
    return options.bank or cache_folder() / "banks"


def _url(options: Namespace) -> str:
    return str(options.storage or storage.default_url(options.studies))


def _studies(options: Namespace) -> list[optuna.Study]:
    """All studies; none where --studies has no database yet. MilairError if --storage names one that does not exist."""
    url = _url(options)
    if options.storage is None and not Path(url.removeprefix("sqlite:///")).is_file():
        return []
    return upkeep.studies(storage.open_storage(url, create=False))


def _study(options: Namespace) -> optuna.Study:
    return storage.load_study(storage.open_storage(_url(options), create=False), options.name)


def _session(study: optuna.Study) -> session.Session | None:
    """A study with its frames; None if they are not where it had them, or others are."""
    with suppress(MilairError):
        return session.open_session(None, study)
    return None


def _ask(study: optuna.Study, trials: int) -> None:
    """MilairError unless a person agrees that the study is lost; UsageError where there is nobody to ask."""
    if not sys.stdin.isatty():
        raise UsageError(f"--yes is needed to delete {study.study_name} where nobody can be asked")
    best = upkeep.best(study)
    score = "" if best is None else f", best score {best:.4f}"
    answer = ""
    with suppress(EOFError):
        answer = input(f"delete {study.study_name} with {trials} trials{score}? [y/N] ")
    if answer.strip().lower() not in ("y", "yes"):
        raise MilairError(f"{study.study_name} is not deleted")


def _tell_models(study: optuna.Study, options: Namespace, console: Progress) -> None:
    """Say which models were made from a study; they are nobody's to move or to remove but the person's."""
    for trial in study.get_trials(deepcopy=False):
        place = summary.model_folder(options.studies, study.study_name, trial.number)
        if place.is_dir():
            console.say(f"the model of trial {trial.number} stays in {place}")
