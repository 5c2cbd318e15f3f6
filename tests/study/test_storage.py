"""The database: SQLite's and PostgreSQL's hold the same promises; what cannot be one is said in one clear line."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from subprocess import PIPE
from types import SimpleNamespace
from typing import TYPE_CHECKING

import faults
import optuna
import psutil
import pytest
import tiny
from optuna.storages._rdb.models import TrialHeartbeatModel
from optuna.trial import TrialState
from sqlalchemy.orm import Session

from milair import space
from milair.errors import MilairError
from milair.study import queue, storage
from milair.study import results as studies
from milair.study import session as setup

if TYPE_CHECKING:
    from postgres import Server

pytest_plugins = ["postgres"]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that is not there yet, or has no tables yet."""
    if request.param == "sqlite":
        return storage.default_url(tmp_path)
    return str(request.getfixturevalue("server").database(synchronous_commit="off"))


@pytest.fixture
def study(url: str) -> optuna.Study:
    return optuna.create_study(study_name="study", direction="maximize", storage=storage.open_storage(url))


def test_each_queued_trial_is_drawn_once_whoever_draws_at_the_same_time(url: str) -> None:
    faults.rush(url, trials=60)


class Started(subprocess.Popen[str]):
    """A process that has come as far as to print a line, killed with its block."""

    def __init__(self, code: str, *arguments: str) -> None:
        super().__init__([sys.executable, "-c", code, *arguments], stdin=PIPE, stdout=PIPE, text=True, bufsize=1)
        assert self.next_line()

    def next_line(self) -> str:
        assert self.stdout is not None
        return self.stdout.readline()

    def __exit__(self, *_: object) -> None:
        self.kill()
        self.communicate()


def test_processes_that_create_one_fresh_database_do_not_collide(url: str) -> None:
    code = "import sys; from milair.study import storage; print('ready'); input(); storage.open_storage(sys.argv[1])"
    with ExitStack() as block:
        processes = [block.enter_context(Started(code, url)) for _ in range(4)]
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
        assert [process.wait(60) for process in processes] == [0] * 4
    assert optuna.get_all_study_names(storage.open_storage(url)) == []


def test_plain_optuna_opens_it(url: str) -> None:
    opened = storage.open_storage(url)
    optuna.create_study(study_name="heads@frames", storage=opened).add_trial(optuna.create_trial(value=0.5))
    assert optuna.load_study(study_name="heads@frames", storage=opened.url).best_value == 0.5


def test_a_name_finds_the_only_study_of_its_space(url: str) -> None:
    opened = storage.open_storage(url)
    for name in ("heads@a", "alpha@a", "alpha@b"):
        optuna.create_study(study_name=name, storage=opened)
    assert storage.load_study(opened, "heads").study_name == "heads@a"
    assert storage.load_study(opened, "alpha@b").study_name == "alpha@b"
    with pytest.raises(MilairError, match="can mean alpha@a or alpha@b"):
        storage.load_study(opened, "alpha")
    with pytest.raises(MilairError, match="there are: alpha@a, alpha@b, heads@a"):
        storage.load_study(opened, "beta")


ALONE = """
import sys, time
from milair.study import storage
storage.STALE = float(sys.argv[4])
study = storage.load_study(storage.open_storage(sys.argv[1]), sys.argv[2])
print("ready")
with storage.alone(study):
    print("alone", flush=True)
    time.sleep(float(sys.argv[3]))
"""


def test_one_process_is_alone_with_a_study_until_it_ends_or_is_killed(url: str, study: optuna.Study) -> None:
    with Started(ALONE, url, study.study_name, "300", "120") as holder:
        assert holder.next_line() == "alone\n"
        with Started(ALONE, url, study.study_name, "0", "120") as other:
            with pytest.raises(subprocess.TimeoutExpired):
                other.wait(1)
            holder.send_signal(signal.SIGKILL)
            assert other.wait(20) == 0
            assert other.next_line() == "alone\n"


def test_a_holder_whose_host_vanished_does_not_keep_others_waiting(server: Server) -> None:
    url = server.database()
    optuna.create_study(study_name="study", storage=storage.open_storage(url))
    with Started(ALONE, url, "study", "300", "3") as holder:
        assert holder.next_line() == "alone\n"
        holder.send_signal(signal.SIGSTOP)  # its connection stays, as that of a host without power does
        with Started(ALONE, url, "study", "0", "3") as other:
            assert other.wait(30) == 0
            assert other.next_line() == "alone\n"


def elsewhere(study: optuna.Study, *, since: float) -> int:
    """The number of a trial that a worker of another host runs, which gave its last sign of life so long ago."""
    base = storage.of(study)
    trial = base.create_new_trial(study._study_id)
    base.set_trial_user_attr(trial, "worker", {"host": "elsewhere", "pid": 1, "started": 0})
    base.record_heartbeat(trial)
    with Session(base.engine) as session:
        session.query(TrialHeartbeatModel).filter_by(trial_id=trial).one().heartbeat -= timedelta(seconds=since)
        session.commit()
    return base.get_trial(trial).number


def test_a_trial_of_another_host_comes_back_once_its_beats_cease(study: optuna.Study) -> None:
    silent = elsewhere(study, since=storage.STALE + 5)
    elsewhere(study, since=storage.STALE - 60)
    assert [trial.number for trial in queue.left_behind(study)] == [silent]
    with storage.alone(study):
        assert queue.reclaim(study) == [silent]
    assert [trial.state for trial in study.trials] == [TrialState.WAITING, TrialState.RUNNING]
    assert study.trials[silent].user_attrs["deaths"] == 1


def test_sqlite_has_a_write_ahead_log_and_locks_when_it_begins(tmp_path: Path) -> None:
    opened = storage.open_storage(storage.default_url(tmp_path))
    with opened.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
        other = sqlite3.connect(tmp_path / "milair.db", timeout=0)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()


def line(url: str) -> str:
    """What is said of a database that cannot be opened: one line, without its password."""
    with pytest.raises(MilairError) as caught:
        storage.open_storage(url)
    said = str(caught.value)
    assert "\n" not in said
    assert "open-sesame" not in said
    return said


def make_as_if_by(optuna_version: str, schema: str, url: str) -> None:
    optuna.create_study(study_name="old", storage=(opened := storage.open_storage(url)))
    with opened.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{schema}'")
        connection.exec_driver_sql(f"UPDATE version_info SET library_version = '{optuna_version}'")
        connection.exec_driver_sql("DROP INDEX ix_trials_study_id")  # came with v3.2.0.a


def test_a_database_of_an_older_optuna_is_opened_after_the_command_that_its_line_names(url: str) -> None:
    make_as_if_by("3.1.0", "v3.0.0.d", url)
    said = line(url)
    assert f"made by optuna 3.1.0, and this is optuna {optuna.__version__}; `optuna storage upgrade" in said
    program, *arguments = shlex.split(said.split("`")[1])
    environment = os.environ | {"PGPASSWORD": "open-sesame"}
    subprocess.run([Path(sys.executable).with_name(program), *arguments], check=True, env=environment)
    assert optuna.get_all_study_names(storage.open_storage(url)) == ["old"]


def test_a_database_of_a_newer_optuna_wants_that_one(url: str) -> None:
    make_as_if_by("9.0.0", "v9.0.0.a", url)
    said = line(url)
    assert f"made by optuna 9.0.0, and this is optuna {optuna.__version__}" in said
    assert "pip install -U optuna" in said
    assert "upgrade" not in said


@pytest.mark.parametrize("change", [{"future": 1}, {"views": None}])
def test_a_study_of_another_milair_is_not_gone_on_with(
    tmp_path: Path, change: dict[str, object], capsys: pytest.CaptureFixture[str]
) -> None:
    options, data = tiny.make(tmp_path), str(tmp_path / "frames")
    chosen = space.load("tiny", tmp_path / "spaces")
    mine = setup.new_settings(chosen, data, setup.read_frames(data)).to_json()
    theirs = {name: value for name, value in (mine | change).items() if value is not None}
    opened = storage.open_storage(storage.default_url(tmp_path / "studies"))
    optuna.create_study(study_name="tiny@frames", storage=opened).set_user_attr(studies.SETTINGS, theirs)
    assert tiny.search(options) == 1
    said = capsys.readouterr().err
    assert f"another milair (they differ in '{next(iter(change))}')" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_database_in_memory_cannot_be_shared(url: str) -> None:
    assert line(url) == f"--storage {url}: a database in memory cannot be shared with workers; name a file"


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_a_network_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    mounts = {"/": "ext4", str(tmp_path): kind, str(tmp_path / "local"): "ext4"}
    parts = [SimpleNamespace(mountpoint=place, fstype=kind) for place, kind in mounts.items()]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: parts)
    said = line(storage.default_url(tmp_path / "studies"))
    assert said.startswith(f"{tmp_path / 'studies' / 'milair.db'}: lies on a network disk ({kind})")
    assert not (tmp_path / "studies").exists()
    storage.open_storage(storage.default_url(tmp_path / "local"))


@pytest.mark.parametrize("dialect", ["mysql", "mysql+pymysql", "oracle", "nonsense"])
def test_other_databases_are_refused(dialect: str) -> None:
    said = line(f"{dialect}://milair:open-sesame@example.org/studies")
    assert said == f"--storage {dialect.split('+')[0]}: milair keeps studies in SQLite or PostgreSQL"


@pytest.mark.parametrize(
    "url", ["studies.db", "postgresql:/milair:open-sesame@host/studies", "postgresql://u:open-sesame@h:port/x"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    assert "not an SQLAlchemy URL, such as sqlite:///studies/milair.db" in line(url)


@pytest.mark.parametrize("listening", [False, True])
def test_a_server_that_is_not_there_or_is_silent_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, listening: bool
) -> None:
    pytest.importorskip("psycopg2")
    monkeypatch.setattr(storage, "_ANSWER", 2)
    begun = time.monotonic()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        if listening:
            silent.listen()
        said = line(f"postgresql://milair:open-sesame@127.0.0.1:{silent.getsockname()[1]}/studies?password=open-sesame")
    assert time.monotonic() - begun < 20
    assert said.startswith("postgresql+psycopg2://milair@127.0.0.1:")
    assert ("timeout expired" if listening else "Connection refused") in said


def test_a_server_without_its_driver_names_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for driver in ("psycopg", "psycopg2"):
        monkeypatch.setitem(sys.modules, driver, None)
    assert line("postgresql://milair:open-sesame@127.0.0.1/studies").endswith(
        "`pip install psycopg2-binary` brings one"
    )


UNPRIVILEGED = """
import os, sys
from milair.study import storage
from milair.errors import MilairError
if os.geteuid() == 0:
    os.seteuid(65534)
try:
    storage.open_storage(sys.argv[1])
except MilairError as error:
    print(error)
"""


@pytest.mark.parametrize("folder", ["closed", "closed/below"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, folder: str) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "closed").mkdir(mode=0o555)
    command = [sys.executable, "-c", UNPRIVILEGED, f"sqlite:///{folder}/milair.db"]
    said = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    assert folder in said
    assert "Permission denied" in said
    assert said.count("\n") == 1


def test_what_is_absent_or_no_database_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(MilairError, match="there is no database"):
        storage.open_storage(storage.default_url(tmp_path / "none"), create=False)
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").write_text("")
    assert line(storage.default_url(tmp_path / "file")) == f"{tmp_path / 'file'}: File exists"
    (tmp_path / "milair.db").write_text("this is not a database, whatever its name says" * 100)
    assert "cannot be opened as a database of studies" in line(storage.default_url(tmp_path))
