"""Studies that move: packed in one place, unpacked in another, and gone on with as if nothing had happened."""

import json
import random
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
import pytest
import tiny
from optuna.artifacts import FileSystemArtifactStore, upload_artifact
from optuna.trial import FrozenTrial, TrialState, create_trial
from optuna_dashboard import get_note, save_note

from milair import studies
from milair.errors import MilairError
from milair.study import artifacts, lock, packing, storage, upkeep
from milair.study.kept import trained
from milair.study.sources import sources

NAME = "tiny@frames"
STRAY = {"alpha": optuna.distributions.FloatDistribution(0.5, 0.9)}


def run(folder: Path, *words: str) -> int:
    return studies.main([*words, "--studies", str(folder / "studies"), "--bank", str(folder / "bank")])


def pack(folder: Path, file: Path, *words: str) -> int:
    return run(folder, "pack", "tiny", str(file), "--spaces", str(folder / "spaces"), *words)


def database(folder: Path) -> optuna.storages.RDBStorage:
    return storage.open_storage(storage.default_url(folder / "studies"))


def facts(trial: FrozenTrial) -> list[Any]:
    """All that a trial holds, but for its id and, of one in hand, who runs it."""
    done = trial.state.is_finished()
    attributes = {name: value for name, value in trial.user_attrs.items() if done or name != lock.SEARCH}
    dates = [trial.datetime_start, trial.datetime_complete]
    values = [trial.values, trial.params, trial.distributions, trial.intermediate_values, trial.constraints]
    return [trial.number, trial.state, *values, attributes, trial.system_attrs, *dates]


def outcome(trial: FrozenTrial) -> list[Any]:
    """What a trial came to, wherever and whenever it ran."""
    return [trial.number, trial.state, trial.values, trained(trial), trial.intermediate_values]


def files(folder: Path) -> set[Path]:
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {name for name in names if not name.name.endswith((".lock", "-wal", "-shm"))}


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    out, error = capsys.readouterr()
    assert (out, error.count("\n")) == ("", 1), (out, error)
    assert error.startswith("milair: ")
    return error


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three trials, with a bank, notes, artifacts, trials of all states and values that JSON finds odd.

    Another study comes first, so that ids of trials are not their numbers."""
    folder = tmp_path_factory.mktemp("searched")
    options = [*tiny.make(folder), "--bank", str(folder / "bank")]
    (folder / "spaces" / "heads.py").write_text("from .widths import WIDTHS\n")
    (folder / "spaces" / "widths.py").write_text("WIDTHS = 3\n")
    with (folder / "spaces" / "tiny.py").open("a") as space:
        space.write("\nfrom . import heads\nassert heads.WIDTHS\n")
    before = optuna.create_study(storage=database(folder), study_name="before")
    before.add_trial(create_trial(value=1.0))
    assert tiny.search(options, "--trials", "3") == 0
    return folder


@pytest.fixture(scope="module")
def packed(searched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("packed") / "tiny.zip"
    assert pack(searched, file, "--with-bank") == 0
    return file


@pytest.fixture
def full(searched: Path, tmp_path: Path) -> Path:
    """A copy of that study with trials in all states, notes, artifacts, and values that JSON finds odd."""
    folder = tmp_path / "full"
    shutil.copytree(searched, folder)
    study = optuna.load_study(study_name=NAME, storage=database(folder))
    odd = {3: float("nan"), 7: float("inf"), 9: -0.1}
    study.add_trial(
        create_trial(state=TrialState.FAIL, intermediate_values=odd, user_attrs={"error": "broke", "ü": [None]})
    )
    values: dict[str, Any] = {"params": {"alpha": 0.1 + 0.6}, "distributions": STRAY}
    study.add_trial(create_trial(state=TrialState.PRUNED, value=0.3, constraints={"ms": 0.1}, **values))
    study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs={lock.SEARCH: "dead"}, **values))
    study.add_trial(create_trial(state=TrialState.WAITING, system_attrs={"fixed_params": {"alpha": 0.75}}))
    (folder / "studies" / "artifacts").mkdir(exist_ok=True)
    store = FileSystemArtifactStore(folder / "studies" / "artifacts")
    (folder / "curve.csv").write_text("epoch,score\n1,0.5\n")
    for owner in (study, study.trials[5]):
        upload_artifact(
            artifact_store=store, file_path=str(folder / "curve.csv"), study_or_trial=owner, storage=study._storage
        )
    (folder / "studies" / "artifacts" / "of-another-study").write_text("stays")
    save_note(study, "the study")
    return folder


def test_all_that_a_study_holds_arrives_but_what_ran_waits(full: Path, tmp_path: Path) -> None:
    old = optuna.load_study(study_name=NAME, storage=database(full))
    save_note(optuna.trial.Trial(old, old.trials[1]._trial_id), "a trial")
    new = tmp_path / "new"
    assert pack(full, tmp_path / "study.zip") == 0
    assert run(new, "unpack", str(tmp_path / "study.zip")) == 0
    study = optuna.load_study(study_name=NAME, storage=database(new))
    expected = [facts(trial) for trial in old.trials]
    assert expected[5][:2] == [5, TrialState.RUNNING]
    expected[5][1] = TrialState.WAITING
    assert repr([facts(trial) for trial in study.trials]) == repr(expected)  # NaN is not itself
    assert study.user_attrs == {name: value for name, value in old.user_attrs.items() if name != lock.SEARCH}
    assert (study.directions, study.metric_names) == (old.directions, ["score"])
    assert (get_note(study), get_note(optuna.trial.Trial(study, study.trials[1]._trial_id))) == ("the study", "a trial")
    assert study.trials[1]._trial_id != old.trials[1]._trial_id
    there, here = (
        {path.name: path.read_bytes() for path in (folder / "studies" / "artifacts").iterdir()}
        for folder in (full, new)
    )
    assert there.pop("of-another-study") == b"stays"
    assert here == there
    assert list(here.values()).count(b"epoch,score\n1,0.5\n") == 2
    assert len(here) > 2  # what the search drew
    assert {file.name for file in files(new / "studies" / "spaces")} == {"tiny.py", "heads.py", "widths.py"}


def test_a_copy_beside_its_original_has_files_of_its_own_and_leaves_those_they_share(
    searched: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(searched, tmp_path / "both")
    assert pack(folder, tmp_path / "study.zip") == 0
    assert run(folder, "unpack", str(tmp_path / "study.zip"), "--name", "twin") == 0
    place = folder / "studies" / "artifacts"
    shared = {path.name for path in place.iterdir()}
    old, twin = (optuna.load_study(study_name=name, storage=database(folder)) for name in (NAME, "twin"))
    for study in (old, twin):
        files = [("frames.jpeg", "image/jpeg", study.study_name.encode())]
        artifacts.keep(place, study.ask(), artifacts.token(study), files)
    assert len({path.name for path in place.iterdir()} - shared) == 2
    assert run(folder, "delete", "twin", "--yes") == 0
    assert {path.name for path in place.iterdir()} > shared
    assert run(folder, "delete", NAME, "--yes") == 0
    assert list(place.iterdir()) == []


def test_what_arrives_goes_on_as_if_nothing_had_happened(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("milair.study.samplers.STARTUP", 3)  # TPE models what the first machine found
    whole, first, second = (tmp_path / name for name in ("whole", "first", "second"))
    more = ("--sampler", "tpe", "--seed", "7")
    options = tiny.make(whole)
    assert tiny.search(options, *more, "--trials", "6") == 0
    assert tiny.search(tiny.make(first), *more, "--trials", "3", "--bank", str(first / "bank")) == 0
    assert pack(first, tmp_path / "study.zip", "--with-bank") == 0
    shutil.copytree(first / "frames", second / "frames")
    shutil.rmtree(first)
    capsys.readouterr()
    assert run(second, "unpack", str(tmp_path / "study.zip")) == 0
    said = capsys.readouterr().out
    assert f"--study tiny --name {NAME} --spaces {second / 'studies' / 'spaces'}" in said
    words = ["--study", "tiny", "--data", str(second / "frames"), "--spaces", str(second / "studies" / "spaces")]
    words += ["--studies", str(second / "studies"), "--bank", str(second / "bank"), "--devices", "cpu"]
    assert tiny.search(words, *more, "--trials", "6") == 0
    assert [outcome(t) for t in tiny.load(second).trials] == [outcome(t) for t in tiny.load(whole).trials]


def test_features_come_along_and_nothing_is_computed_again(
    searched: Path, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run(tmp_path, "unpack", str(packed)) == 0
    (old,), (new,) = ([*(folder / "bank").glob("*/features.f32")] for folder in (searched, tmp_path))
    rows = old.stat().st_size
    assert "60 rows of features" in capsys.readouterr().out  # 18 training frames thrice, 6 of validation once
    assert new.parent.name == old.parent.name  # where a search looks for it
    assert (new.read_bytes(), rows > 0) == (old.read_bytes(), True)
    assert (new.parent / "rows.index").read_bytes() == (old.parent / "rows.index").read_bytes()
    assert run(tmp_path, "unpack", str(packed), "--name", "twin") == 0
    assert "rows of features" not in capsys.readouterr().out
    assert new.stat().st_size == rows


def test_a_space_that_milair_finds_is_not_written_again(
    searched: Path, packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(searched / "spaces", tmp_path / "search_spaces")
    monkeypatch.chdir(tmp_path)
    assert run(tmp_path, "unpack", str(packed)) == 0
    assert not (tmp_path / "studies" / "spaces").exists()


def test_nothing_is_written_over(packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "studies" / "spaces" / "widths.py"
    place.parent.mkdir(parents=True)
    place.write_text("WIDTHS = 4\n")
    assert run(tmp_path, "unpack", str(packed)) == 1
    assert f"{place}: another file than the packed one" in one_line(capsys)
    assert (place.read_text(), optuna.get_all_study_names(database(tmp_path))) == ("WIDTHS = 4\n", [])
    assert run(tmp_path, "unpack", str(packed), "--spaces", str(tmp_path / "other")) == 0
    assert {file.name for file in files(tmp_path / "other")} == {"tiny.py", "heads.py", "widths.py"}
    assert run(tmp_path, "unpack", str(packed)) == 1
    assert f"there is a study {NAME} already; --name NEW" in capsys.readouterr().err


def test_pack_is_refused_where_it_would_lose_something(
    full: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "study.zip"
    with lock.held(optuna.load_study(study_name=NAME, storage=database(full))):
        assert pack(full, file) == 1
    assert "it can be packed when that has ended" in one_line(capsys)
    file.write_text("mine")
    assert pack(full, file) == 1
    assert "there is such a file already" in one_line(capsys)
    assert file.read_text() == "mine"
    space = full / "spaces" / "tiny.py"
    space.write_text(space.read_text().replace('"16", ', ""))
    assert pack(full, tmp_path / "other.zip") == 1
    assert "was made with other dimensions" in one_line(capsys)
    space.unlink()
    assert pack(full, tmp_path / "other.zip") == 1
    assert "there is no such search space; --spaces DIR" in one_line(capsys)
    assert run(full, "pack", "before", str(tmp_path / "other.zip")) == 1
    assert "was not made by milair" in one_line(capsys)
    assert {path.name for path in tmp_path.iterdir()} == {"full", "study.zip"}


def rewritten(packed: Path, file: Path, change: Any) -> Path:
    """A copy of a packed study whose members {name: bytes} were changed, its manifest among them."""
    with zipfile.ZipFile(packed) as old, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as new:
        members = {name: old.read(name) for name in old.namelist()}
        manifest = json.loads(members.pop("manifest.json"))
        change(members, manifest)
        for name, content in (members | {"manifest.json": json.dumps(manifest).encode()}).items():
            new.writestr(name, content)
    return file


def newer(members: dict[str, bytes], manifest: dict[str, Any]) -> None:  # noqa: ARG001
    manifest |= {"format": 2, "milair": "9.0"}


def outside(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    members["space/../../evil.py"] = members["space/tiny.py"]
    manifest["files"]["space/../../evil.py"] = manifest["files"]["space/tiny.py"]


def absolute(members: dict[str, bytes], manifest: dict[str, Any]) -> None:
    members["/evil.py"] = members["space/tiny.py"]
    manifest["files"]["/evil.py"] = manifest["files"]["space/tiny.py"]


def more(members: dict[str, bytes], manifest: dict[str, Any]) -> None:  # noqa: ARG001
    members["space/more.py"] = b""


def other(members: dict[str, bytes], manifest: dict[str, Any]) -> None:  # noqa: ARG001
    members["space/tiny.py"] += b"\n"


def lacking(members: dict[str, bytes], manifest: dict[str, Any]) -> None:  # noqa: ARG001
    del members["study.json"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (newer, "packed by milair 9.0 in format 2"),
        (outside, "would lie outside of a folder"),
        (absolute, "would lie outside of a folder"),
        (more, "its members are not those of its manifest"),
        (other, "its member space/tiny.py is not what was packed"),
        (lacking, "its members are not those of its manifest"),
    ],
)
def test_what_is_no_packed_study_of_this_milair_leaves_nothing(
    change: Any, said: str, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path / "new", "unpack", str(rewritten(packed, tmp_path / "odd.zip", change))) == 1
    assert said in one_line(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["odd.zip"]


def test_a_file_cut_short_or_with_a_byte_changed_is_refused_or_the_same(packed: Path, tmp_path: Path) -> None:
    url = storage.default_url(tmp_path / "studies")
    expected = [facts(trial) for trial in packing.unpack(packed, url, tmp_path / "studies", "whole").study.trials]
    before, content, chance = files(tmp_path), packed.read_bytes(), random.Random(0)
    damaged = [content[:end] for end in (0, 1, 100, len(content) // 2, len(content) - 1)]
    # Most bytes are features; headers and the directory at the end are where it gets odd.
    places = [*range(0, 40, 2), *range(len(content) - 400, len(content), 5)]
    places += [chance.randrange(len(content)) for _ in range(5)]
    damaged += [content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :] for at in places]
    file = tmp_path.with_name(f"{tmp_path.name}.zip")
    refused = 0
    for number, changed in enumerate(damaged):
        file.write_bytes(changed)
        with suppress(MilairError):
            study = packing.unpack(file, url, tmp_path / "studies", f"new-{number}").study
            assert repr([facts(trial) for trial in study.trials]) == repr(expected)  # it was a byte of a date or so
            continue
        with pytest.raises(MilairError, match=r"^[^\n]*damaged[^\n]*$"):
            packing.unpack(file, url, tmp_path / "studies", f"new-{number}")
        refused += 1
        assert files(tmp_path) == before
    assert len(optuna.get_all_study_names(url)) == 1 + len(damaged) - refused
    assert refused > len(damaged) / 2


def test_an_unpacking_that_fails_or_was_killed_leaves_nothing_behind(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, url = database(tmp_path), storage.default_url(tmp_path / "studies")
    killed = optuna.create_study(study_name=f"{NAME} (being unpacked)", storage=base)
    killed.add_trial(create_trial(value=1.0))
    with monkeypatch.context() as patch:
        patch.setattr(upkeep, "set_name", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            packing.unpack(packed, url, tmp_path / "studies")
    assert optuna.get_all_study_names(base) == []
    assert files(tmp_path) == {Path("studies/milair.db")}
    assert packing.unpack(packed, url, tmp_path / "studies").trials == 3
    assert optuna.get_all_study_names(base) == [NAME]


def test_the_files_of_a_space_are_found_without_running_any(tmp_path: Path) -> None:
    for name, text in {
        "one.py": "from .two import x\nraise SystemExit",
        "two.py": "def f():\n    import search_spaces.pack.deep\n    import os, json.tool",
        "three.py": "",
        "pack/__init__.py": "",
        "pack/deep.py": "from ..four import y\nfrom .gone import z",
        "pack/runs.csv": "1",
        "pack/__pycache__/deep.pyc": "",
        "four.py": "from search_spaces import five, nothing\nfrom other import three",
        "five.py": "",
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    expected = {"one.py", "two.py", "pack/__init__.py", "pack/deep.py", "pack/runs.csv", "four.py", "five.py"}
    assert sources("one", tmp_path).keys() == expected
