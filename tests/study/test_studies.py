"""The shelf of studies: what is said of them, and that nothing is lost but what a person gives away."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from sqlalchemy import text
from tiny import make, search

from milair import studies
from milair.features import quota
from milair.study import lock, storage
from milair.study import results as study
from milair.study.kept import trained

NAME = "tiny@frames"


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished study of two trials and its bank; nothing in it changes."""
    folder = tmp_path_factory.mktemp("searched")
    assert search(make(folder), "--trials", "2", "--pruner", "none", "--bank", str(folder / "bank")) == 0
    return folder


@pytest.fixture
def folder(tmp_path: Path, searched: Path) -> Path:
    """A copy of that study, to do with as one likes."""
    shutil.copytree(searched / "studies", tmp_path / "studies")
    return tmp_path


def run(folder: Path, *words: str) -> int:
    return studies.main([*words, "--studies", str(folder / "studies"), "--bank", str(folder / "bank")])


def database(folder: Path) -> optuna.storages.RDBStorage:
    return storage.open_storage(storage.default_url(folder / "studies"))


def load(folder: Path, name: str = NAME) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=database(folder))


def another(folder: Path, name: str, **attributes: Any) -> optuna.Study:
    """A study beside the finished one, with its settings."""
    made = optuna.create_study(study_name=name, storage=database(folder), direction="maximize")
    made.set_user_attr(study.SETTINGS, load(folder).user_attrs[study.SETTINGS] | attributes)
    made.set_user_attr(study.GOAL, 9)
    return made


def begin(found: optuna.Study, **signature: Any) -> None:
    """A running trial: of a search that signed it, or of another program."""
    found.add_trial(create_trial(state=TrialState.RUNNING, user_attrs=signature))


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    out, error = capsys.readouterr()
    assert out == ""
    assert error.startswith("milair: ")
    assert error.count("\n") == 1
    return error


def test_the_list_tells_states_counts_and_the_best_score(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    running = another(folder, "tiny@running")
    left = another(folder, "tiny@left")
    begin(left, search="dead")
    left.enqueue_trial({})
    left.add_trial(create_trial(state=TrialState.FAIL))
    left.add_trial(create_trial(state=TrialState.PRUNED, value=0.25))
    with lock.held(running):
        assert run(folder, "list", "--json") == 0
    rows = {row.pop("study"): row for row in json.loads(capsys.readouterr().out)}
    best = load(folder).best_value
    data = load(folder).user_attrs[study.SETTINGS]["data"]
    active = max(trial.datetime_complete for trial in load(folder).trials if trial.datetime_complete)
    assert rows[NAME] == {
        **{"state": "finished", "complete": 2, "pruned": 0, "failed": 0, "waiting": 0},
        **{"score": best, "data": data, "active": active.isoformat(" ", "minutes")},
    }
    assert rows["tiny@running"]["state"] == "running"
    counts = {"complete": 0, "pruned": 1, "failed": 1, "waiting": 1}
    assert rows["tiny@left"] | counts | {"state": "interrupted", "score": None} == rows["tiny@left"]
    assert run(folder, "list") == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == ["study", *list(rows[NAME])[:-1], "last", "active"]
    assert sorted(line.split()[0] for line in lines) == sorted(rows)
    assert next(line for line in lines if NAME in line).split()[:8] == [
        *f"{NAME} finished 2 0 0 0 {best:.4f}".split(),
        data,
    ]


def test_studies_that_milair_did_not_make_are_told_as_far_as_they_can_be(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    least = optuna.create_study(study_name="least", storage=database(folder), direction="minimize")
    for value in (0.5, 0.25):
        least.add_trial(create_trial(value=value))
    two = optuna.create_study(study_name="two", storage=database(folder), directions=["maximize"] * 2)
    two.add_trial(create_trial(values=[1, 2]))
    assert run(folder, "list", "--json") == 0
    rows = {row.pop("study"): row for row in json.loads(capsys.readouterr().out)}
    known = {"complete": 2, "pruned": 0, "failed": 0, "waiting": 0, "score": 0.25, "active": rows["least"]["active"]}
    assert rows["least"] == known | {"state": "unknown", "data": None}
    assert (rows["two"]["complete"], rows["two"]["score"]) == (1, None)
    for name in ("least", "two"):
        assert run(folder, "show", name) == 0
        out = capsys.readouterr().out
        assert "milair did not make it" in out
        assert "next" not in out
    assert run(folder, "show", "two", "--json") == 0
    assert json.loads(capsys.readouterr().out)["settings"] == {}


def test_where_there_is_no_study_it_says_how_to_make_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "list") == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    words = shlex.split(out.split("`")[1])
    assert words[1:5] == ["-m", "milair.search", "--study", "heads"]
    assert words[words.index("--studies") + 1] == str(tmp_path / "studies")
    assert run(tmp_path, "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert list(tmp_path.iterdir()) == []
    assert run(tmp_path, "list", "--storage", f"sqlite:///{tmp_path}/typo.db") == 1
    assert "typo.db: there is no database" in one_line(capsys)


def test_show_tells_the_state_the_settings_the_best_and_what_is_next(
    folder: Path, searched: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "show", "tiny") == 0
    out = capsys.readouterr().out
    source = study.stored_settings(load(folder)).source  # what MILAIR_WEIGHTS says, or imagenet
    for line in (
        *(f"data         {searched / 'frames'}", f"source       {source}", "views        2"),
        *("state        finished, 2 of 2 trials", "split        share 0.25, seed 42", "space        tiny"),
        *("  alpha              0.5 to 0.9", "  cls_head.widths    4, 8, 16, 8-8", f"{NAME}: 2 complete"),
    ):
        assert f"\n{line}\n" in out
    assert "chance baseline: 0." in out
    retrain, predict, dashboard, ours = map(shlex.split, out.split("\nnext\n")[1].splitlines())
    assert retrain[2:5] == ["milair.retrain", "--study", NAME]
    assert retrain[5:] == ["--studies", str(folder / "studies"), "--bank", str(folder / "bank")]
    assert predict[2:5:2] == ["milair.predict", str(searched / "frames" / "images")]
    assert dashboard[1:] == [
        storage.default_url(folder / "studies"),
        *("--artifact-dir", str(folder / "studies" / "artifacts")),
    ]
    assert ours[2:] == ["milair.dashboard", "--study", NAME, "--studies", str(folder / "studies")]
    assert run(folder, "show", "tiny", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings"] == load(folder).user_attrs[study.SETTINGS]
    assert (found["state"], found["finished"], found["goal"]) == ("finished", 2, 2)
    assert found["best"][0]["score"] == load(folder).best_value


def test_show_does_without_frames_that_moved_or_changed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = load(folder)
    settings = found.user_attrs[study.SETTINGS]
    for change in ({"data": str(folder / "gone")}, {"fingerprint": "another"}):
        found.set_user_attr(study.SETTINGS, settings | change)
        assert run(folder, "show", NAME) == 0
        out = capsys.readouterr().out
        assert "chance baseline" not in out
        assert "milair.retrain" in out
        assert "milair.predict" not in out


def test_show_tells_trouble_and_what_was_fixed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = another(folder, "tiny@trouble", overrides={"epochs": "3", "weights": "random"})
    found.add_trial(create_trial(state=TrialState.FAIL, user_attrs={"error": "no luck"}))
    assert run(folder, "show", "tiny@trouble") == 0
    out = capsys.readouterr().out
    assert "\nstate        interrupted, 0 of 9 trials\n" in out
    assert "\noverrides    epochs 3, weights random\n" in out
    assert "\ntrouble\n  fail 0: no luck\n" in out


@pytest.mark.parametrize("action", ["show", "rename", "delete"])
def test_a_study_that_is_not_there_is_one_line(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str], action: str
) -> None:
    new = ["new"] if action == "rename" else []
    assert run(folder, action, "nope", *new) == 1
    assert f"there is no study 'nope'; there are: {NAME}" in one_line(capsys)
    assert run(tmp_path_factory.mktemp("none"), action, "nope", *new) == 1
    assert "there is no database of studies there" in one_line(capsys)


def model(folder: Path, name: str) -> Path:
    place = folder / "studies" / "models" / name
    place.mkdir(parents=True)
    return place


def test_a_trial_again_is_trained_with_the_next_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = make(tmp_path)
    assert search(options, "--trials", "2", "--pruner", "none") == 0
    capsys.readouterr()
    assert run(tmp_path, "again", NAME, "1", "0", "1") == 0
    assert capsys.readouterr().out == f"4 trials wait in {NAME}; its search trains them with --trials 6\n"
    assert search(options, "--trials", "6") == 0
    trials = load(tmp_path).trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 6  # none was pruned
    for trial, (first, later) in zip(trials[2:], [(1, 1), (0, 1), (1, 2), (0, 2)], strict=True):
        seed = trained(trials[first])["seed"]
        assert trial.params == trials[first].params
        assert trained(trial) == trained(trials[first]) | {"seed": seed + later}
        assert trial.user_attrs["note"] == f"trial {first} again"


def test_only_what_is_complete_is_trained_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin(load(folder), search="mine")
    foreign = optuna.create_study(study_name="foreign", storage=database(folder))
    foreign.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    assert run(folder, "again", NAME, "0", "2", "7") == 1
    assert run(folder, "again", "foreign", "0") == 1
    assert capsys.readouterr().err.splitlines() == [
        f"milair: {NAME} has no complete trial 2 and no 7",
        "milair: study foreign was not made by milair: it has no settings stored with it",
    ]
    assert [len(found.trials) for found in (load(folder), load(folder, "foreign"))] == [3, 1]


def test_a_renamed_study_is_the_same_and_its_models_stay(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = load(folder).trials
    kept = model(folder, f"{NAME}-1")
    assert run(folder, "rename", "tiny", "a b") == 0
    out = capsys.readouterr().out
    assert "--name 'a b'" in out
    assert f"the model of trial 1 stays in {kept}\n" in out
    assert optuna.get_all_study_names(database(folder)) == ["a b"]
    assert load(folder, "a b").trials == before
    assert kept.is_dir()


def test_a_rename_is_refused_where_something_would_be_lost(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    running = another(folder, "other")
    with lock.held(running) as hold:
        hold.sign()
        for status, words, says in (
            (1, (NAME, "other"), "there is a study other already"),
            (1, (NAME, NAME), f"there is a study {NAME} already"),
            (1, ("other", "new"), f"study other is being searched by process {os.getpid()} on "),
            (2, (NAME, " "), "NEW is empty"),
        ):
            assert run(folder, "rename", *words) == status
            assert says in one_line(capsys)
    assert sorted(optuna.get_all_study_names(database(folder))) == ["other", NAME]


def rows(folder: Path) -> dict[str, int]:
    """How many rows each table has, but for the version's."""
    with database(folder).engine.connect() as connection:
        names = connection.execute(text("SELECT name FROM sqlite_master WHERE type = 'table'")).scalars()
        tables = [name for name in names if "version" not in name]
        return {name: connection.execute(text(f"SELECT count(*) FROM {name}")).scalar_one() for name in tables}


def test_a_deleted_study_leaves_nothing_but_its_models(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = model(folder, f"{NAME}-0")
    model(folder, f"{NAME}-7")  # of no trial
    assert run(folder, "delete", NAME, "--yes") == 0
    out = capsys.readouterr().out
    assert out == f"the model of trial 0 stays in {kept}\n{NAME} is deleted, with 2 trials\n"
    assert set(rows(folder).values()) == {0}
    assert kept.is_dir()


def test_the_room_of_a_deleted_study_is_used_again(tmp_path: Path) -> None:
    def fill(name: str) -> int:
        made = optuna.create_study(study_name=name, storage=database(tmp_path))
        made.add_trial(create_trial(value=1, user_attrs={"curves": "0" * 1_000_000}))
        with made._storage._backend.engine.connect() as connection:  # type: ignore[attr-defined]
            return int(connection.execute(text("PRAGMA page_count")).scalar_one())

    pages = fill("first")
    assert run(tmp_path, "delete", "first", "--yes") == 0
    assert fill("second") <= pages + 2


def test_a_delete_is_refused_where_nobody_agrees_or_it_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    running = another(folder, "other")
    assert run(folder, "delete", NAME) == 2
    assert "--yes is needed" in one_line(capsys)
    with lock.held(running):
        assert run(folder, "delete", "other", "--yes") == 1
    assert "study other is being searched by " in one_line(capsys)
    assert sorted(optuna.get_all_study_names(database(folder))) == ["other", NAME]


def test_in_a_terminal_a_person_is_asked(folder: Path) -> None:
    best = load(folder).best_value
    master, slave = os.openpty()
    words = [sys.executable, "-m", "milair.studies", "delete", "tiny", "--studies", str(folder / "studies")]
    process = subprocess.Popen(words, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    said = b""
    while b"[y/N]" not in said:
        said += os.read(master, 1000)
    assert f"delete {NAME} with 2 trials, best score {best:.4f}?".encode() in said
    os.write(master, b"y\n")
    assert process.wait(timeout=60) == 0
    assert b"is deleted, with 2 trials" in os.read(master, 1000)
    os.close(master)
    assert optuna.get_all_study_names(database(folder)) == []


@pytest.mark.parametrize("answer", [b"n\n", b"\n", b"no idea\n", b"\x04"])
def test_who_does_not_agree_loses_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    master, slave = os.openpty()
    os.write(master, answer)
    with os.fdopen(slave) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        assert run(folder, "delete", NAME) == 1
    os.close(master)
    assert capsys.readouterr().err == f"milair: {NAME} is not deleted\n"
    assert load(folder).trials


@pytest.fixture
def banks(folder: Path, searched: Path) -> list[Path]:
    """The bank of the search, a second one, and a folder beside them that is none."""
    shutil.copytree(searched / "bank", folder / "bank")
    shutil.copytree(quota.banks(folder / "bank")[0], folder / "bank" / ("f" * 24))
    found = quota.banks(folder / "bank")
    (folder / "bank" / "pictures").mkdir()
    (folder / "bank" / "pictures" / "mine.jpeg").write_text("mine")
    assert len(found) == 2
    return found


def test_clean_frees_the_banks_and_nothing_else(
    folder: Path, banks: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = [quota.size(bank) / 1e6 for bank in banks]
    for words, what in ((["--dry-run"], "would be freed"), ([], "freed")):
        assert all(bank.is_dir() for bank in banks)
        assert run(folder, "clean", *words) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[:2] == [f"{bank.name}  {size:.1f} MB" for bank, size in zip(banks, sizes, strict=True)]
        assert lines[2].startswith(f"{sum(sizes):.1f} MB of features {what} in {folder / 'bank'}; ")
    assert quota.banks(folder / "bank") == []
    assert (folder / "bank" / "pictures" / "mine.jpeg").is_file()


def test_clean_leaves_a_bank_that_is_being_computed(
    folder: Path, banks: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with quota.lock(banks[0]):
        assert run(folder, "clean") == 0
    assert f"{banks[0].name}  stays: it is being computed" in capsys.readouterr().out
    assert [bank.is_dir() for bank in banks] == [True, False]


def test_clean_needs_neither_a_database_nor_banks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MILAIR_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "banks" / ("0" * 24)).mkdir(parents=True)
    assert studies.main(["clean", "--studies", str(tmp_path / "studies")]) == 0
    assert f"0.0 MB of features freed in {tmp_path / 'cache' / 'banks'}" in capsys.readouterr().out
    assert quota.banks(tmp_path / "cache" / "banks") == []
    assert run(tmp_path, "clean") == 0
    assert not (tmp_path / "studies").exists()


def test_clean_gives_back_what_dead_searches_left(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left, older, living = (another(folder, name) for name in ("left", "older", "living"))
    foreign = optuna.create_study(study_name="foreign", storage=database(folder))
    for _ in range(2):
        begin(left, search="dead")
    begin(older, worker={"pid": 1})  # of a milair whose workers signed
    for study_, signature in ((left, {}), (living, {"search": "alive"}), (foreign, {})):
        begin(study_, **signature)
    running, waiting = TrialState.RUNNING, TrialState.WAITING
    with lock.held(living):
        for words, what, state in ((["--dry-run"], "would go", running), ([], "went", waiting)):
            assert run(folder, "clean", *words) == 0
            told = [line for line in capsys.readouterr().out.splitlines() if "queue" in line]
            assert told == [
                f"left: {what} back to the queue from a search that died: trial 0, 1",
                f"older: {what} back to the queue from a search that died: trial 0",
            ]
            assert [trial.state for trial in left.trials] == [state, state, running]
    assert [found.trials[0].state for found in (living, foreign)] == [running, running]


def test_wrong_use_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["shred"], ["show"], ["rename", "a"], ["list", "--yes"]):
        with pytest.raises(SystemExit, match="2"):
            studies.main(words)
    assert "usage: python -m milair.studies" in capsys.readouterr().err
