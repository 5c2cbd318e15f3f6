"""A study in one file, to go on with on another machine: its trials, artifacts, space, and its features if wanted.

Trials keep their numbers, from which draws follow; what ran waits. A study arrives under a name of its own and takes
its name last: a kill leaves no half of one.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import distribution_to_json, json_to_distribution
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from milair import space as spaces_
from milair.errors import MilairError, OutsideError, first_line, what_failed
from milair.features import QUOTA
from milair.study import archive, lock, results, storage, upkeep
from milair.study.artifacts import PREFIX, TOKEN
from milair.study.session import LABELS
from milair.study.sources import sources

_OF_TRIAL = re.compile(r"(dashboard:(?:artifacts:)?)(\d+)(:.*)", re.DOTALL)  # study attributes about a trial, by its id
_ARRIVING = " (being unpacked)"


@dataclass(frozen=True)
class Unpacked:
    study: optuna.Study
    trials: int
    artifacts: int
    rows: int  # of features that were new here
    spaces: Path | None  # where its space lies now; None: where milair finds it anyhow


def pack(study: optuna.Study, file: Path, spaces: Path, artifacts: Path, bank: Path | None = None) -> dict[str, int]:
    """Write a study into a file, with its space from `spaces` and its features from `bank` if that is named.

    How many trials, artifacts and rows of features it holds. MilairError if a search runs, the space is another one
    than the study's, or the file exists."""
    with lock.held(study, "packed"):
        settings = results.stored_settings(study)
        files = sources(settings.space, spaces)
        space = spaces_.load(settings.space, spaces)
        now = replace(settings, dimensions=space.narrowed(settings.only).dimensions())
        settings.refuse_difference(now, study.study_name, None, ("dimensions",), f"--spaces DIR is not {spaces}, then")
        trials = study.get_trials(deepcopy=False)
        system = storage.of(study).get_study_system_attrs(study._study_id)
        numbers = {trial._trial_id: trial.number for trial in trials}
        about = {"study": study.study_name, "space": settings.space, "trials": len(trials)}
        with archive.writing(file, about) as writer:
            writer.add_json(
                "study.json",
                {
                    "directions": [direction.name for direction in study.directions],
                    "user_attrs": {name: v for name, v in study.user_attrs.items() if name != lock.SEARCH},
                    "system_attrs": {_renamed(name, numbers): v for name, v in system.items() if name != TOKEN},
                    "trials": [_to_json(trial) for trial in trials],
                },
            )
            for name, path in files.items():
                writer.add_file(f"space/{name}", path)
            places = [artifacts / name for name in _artifacts(system, *(trial.system_attrs for trial in trials))]
            places = [place for place in places if place.is_file()]  # what was deleted is missed by nobody
            for place in places:
                writer.add_file(f"artifacts/{place.name}", place)
            rows = 0 if bank is None else _pack_bank(writer, system.get(LABELS) or [], trials, bank)
    return {"trials": len(trials), "artifacts": len(places), "rows": rows}


def _artifacts(*attributes: Mapping[str, Any]) -> list[str]:
    names = [name.removeprefix(PREFIX) for attrs in attributes for name in attrs if name.startswith(PREFIX)]
    return [name for name in dict.fromkeys(names) if re.fullmatch(r"[\w-]+", name)]


def _renamed(name: str, numbers: Mapping[int, int]) -> str:
    """A study attribute that names a trial by its id, which a database gives: by its number, or the other way."""
    found = _OF_TRIAL.fullmatch(name)
    return f"{found[1]}{numbers[int(found[2])]}{found[3]}" if found and int(found[2]) in numbers else name


def _to_json(trial: FrozenTrial) -> dict[str, Any]:
    """A trial; one that runs waits, as when its search had been ended."""
    begun, ended = trial.datetime_start, trial.datetime_complete
    runs, attributes = trial.state == TrialState.RUNNING, trial.user_attrs
    state = TrialState.WAITING if runs else trial.state
    return {
        "state": state.name,
        "values": trial.values,
        "params": trial.params,
        "distributions": {name: distribution_to_json(domain) for name, domain in trial.distributions.items()},
        "intermediate_values": list(trial.intermediate_values.items()),
        "user_attrs": {name: v for name, v in attributes.items() if not (runs and name == lock.SEARCH)},
        "system_attrs": trial.system_attrs,
        "dates": [date and date.isoformat() for date in (begun, ended)],
    }


def _from_json(values: Mapping[str, Any], number: int) -> FrozenTrial:
    begun, ended = (date and datetime.fromisoformat(date) for date in values["dates"])
    trial = FrozenTrial(
        number=number,
        trial_id=-1,
        state=TrialState[values["state"]],
        value=None,
        values=values["values"],
        params=values["params"],
        distributions={name: json_to_distribution(text) for name, text in values["distributions"].items()},
        intermediate_values=dict(values["intermediate_values"]),
        user_attrs=values["user_attrs"],
        system_attrs=values["system_attrs"],
        datetime_start=begun,
        datetime_complete=ended,
    )
    trial._validate()
    return trial


def _pack_bank(writer: archive.Writer, labels: list[list[Any]], trials: list[FrozenTrial], bank: Path) -> int:
    from milair.features import carrying  # torch, which most that carry a study do without
    from milair.features.crops import content

    contents, wanted = set(), set()
    for _, _, box, picture in labels:
        contents |= {bytes.fromhex(picture), content(bytes.fromhex(picture), tuple(box))}
    for trial in trials:
        recipe, weights = results.recipe_of(trial), trial.user_attrs.get("weights")
        if recipe is not None and weights is not None:
            sizes = [recipe.size, (recipe.crop_size, recipe.crop_size)][: recipe.looks]
            wanted |= {(recipe.feature_map, weights, size) for size in sizes}
    total = 0
    for number, rows in enumerate(carrying.rows(bank, contents, wanted)):
        writer.add_json(f"bank/{number}/about.json", rows.about)
        writer.add(f"bank/{number}/rows.index", [rows.keys])
        writer.add(f"bank/{number}/features.f32", rows.features())
        total += rows.count
    return total


def unpack(
    file: Path,
    url: str,
    studies: Path,
    name: str | None = None,
    spaces: Path | None = None,
    bank: Path | None = None,
    bank_quota: float = QUOTA,
) -> Unpacked:
    """Put a packed study into the database at a URL, as `name` if that is given.

    Artifacts come below `studies`, features into `bank`, its space into `spaces`. Without `spaces` it stays away if
    milair finds the same one anyhow, and else comes to `studies`/spaces. MilairError if the file is damaged or the name
    exists: then nothing is left behind."""
    with archive.reading(file) as packed:
        try:
            name = name or str(packed.manifest["study"])
            trials, attributes = _study_of(packed)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MilairError(f"{file}: holds no study that can be read ({first_line(error)})") from None
        database = storage.open_storage(url)
        if name in optuna.get_all_study_names(database):
            raise MilairError(f"there is a study {name} already; --name NEW unpacks it under another name")
        found = spaces_.default_folder()
        if spaces is not None or any(_differs(packed, f"space/{part}", found / part) for part in packed.names("space")):
            home = spaces or studies / "spaces"
        else:
            home = found
        places = {f"space/{part}": home / part for part in packed.names("space")}
        places |= {f"artifacts/{part}": studies / "artifacts" / part for part in packed.names("artifacts")}
        for member, place in places.items():
            if place.exists() and _differs(packed, member, place):
                raise MilairError(
                    f"{place}: another file than the packed one; --spaces or --studies DIR goes elsewhere"
                )
        rows = 0 if bank is None else _unpack_bank(packed, bank, bank_quota)
        with _written(packed, places):
            study = _create(database, name, trials, attributes)
    return Unpacked(study, len(trials), len(packed.names("artifacts")), rows, None if home == found else home)


def _study_of(packed: archive.Archive) -> tuple[list[FrozenTrial], dict[str, Any]]:
    values = packed.json("study.json")
    trials = [_from_json(trial, number) for number, trial in enumerate(values.pop("trials"))]
    values["directions"] = [StudyDirection[name] for name in values["directions"]]
    return trials, {kind: values[kind] for kind in ("directions", "user_attrs", "system_attrs")}


def _differs(packed: archive.Archive, member: str, place: Path) -> bool:
    return not place.is_file() or place.read_bytes() != packed.read(member)


@contextmanager
def _written(packed: archive.Archive, places: Mapping[str, Path]) -> Iterator[None]:
    """Members as files, of which those that were not there go again if the block fails."""
    new = list[Path]()
    try:
        for member, place in places.items():
            if not place.exists():
                new.append(place)
                packed.extract(member, place)
        yield
    except BaseException as error:
        for place in new:
            place.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise OutsideError(what_failed(error)) from error
        raise


def _unpack_bank(packed: archive.Archive, bank: Path, gigabytes: float) -> int:
    tables = sorted({part.partition("/")[0] for part in packed.names("bank")}, key=int)
    if not tables:
        return 0
    from milair.features import carrying

    rows = 0
    for table in tables:
        about, keys = packed.json(f"bank/{table}/about.json"), packed.read(f"bank/{table}/rows.index")
        with packed.open(f"bank/{table}/features.f32") as features:
            rows += carrying.join(bank, about, keys, features, gigabytes)
    return rows


def _create(database: RDBStorage, name: str, trials: list[FrozenTrial], attributes: Mapping[str, Any]) -> optuna.Study:
    """The study, whole or not at all: what a kill has left of one goes first."""
    arriving = name + _ARRIVING
    if arriving in optuna.get_all_study_names(database):
        left = optuna.load_study(study_name=arriving, storage=database)
        if lock.is_held(left):
            raise MilairError(f"{name} is being unpacked by another process")
        database.delete_study(left._study_id)
    study = optuna.create_study(study_name=arriving, storage=database, directions=attributes["directions"])
    try:
        with lock.held(study, "unpacked"):
            ids = {trial.number: database.create_new_trial(study._study_id, trial) for trial in trials}
            for key, value in attributes["user_attrs"].items():
                database.set_study_user_attr(study._study_id, key, value)
            for key, value in attributes["system_attrs"].items():
                database.set_study_system_attr(study._study_id, _renamed(key, ids), value)
            upkeep.set_name(study, name)
    except BaseException:
        database.delete_study(study._study_id)
        raise
    return optuna.load_study(study_name=name, storage=database)
