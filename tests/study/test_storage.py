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
from pathlib import Path
from subprocess import PIPE
from types import SimpleNamespace
from typing import TYPE_CHECKING

import faults
import optuna
import psutil
import pytest
import tiny
from sqlalchemy import text

from milair import space
from milair.errors import MilairError
from milair.study import lock, queue, storage
from milair.study import results as studies
from milair.study import session as sessions
from milair.study.settings import new_settings

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


def test_each_queued_trial_is_trained_once_by_whichever_worker(url: str, tmp_path: Path) -> None:
    faults.rush(faults.Place(tmp_path / "place", url=url), trials=32)


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


HOLDER = """
import sys, time
from milair.study import lock, storage
study = storage.load_study(storage.open_storage(sys.argv[1]), "study")
with lock.held(study) as hold, lock.signed(hold):
    print("holds", flush=True)
    time.sleep(300)
"""


def test_one_process_holds_a_study_until_it_ends_or_is_killed(url: str, study: optuna.Study) -> None:
    other = optuna.create_study(study_name="other", storage=study._storage)
    with Started(HOLDER, url) as holder:
        assert lock.is_held(study)
        with pytest.raises(MilairError) as caught, lock.held(study, "renamed"):
            raise AssertionError("two hold it")
        assert str(caught.value) == (
            f"study study is being searched by process {holder.pid} on {socket.gethostname()}; it can be renamed when "
            "that has ended (more workers of one search: --devices, --per-device)"
        )
        with lock.held(other):  # the database is not held
            assert not lock.is_held(study) or lock.is_held(other)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with lock.held(study):
            assert lock.is_held(study)
    heard = 0 if url.startswith("sqlite") else faults.PATIENCE  # a server hears of it in its time
    assert faults.until(lambda: not lock.is_held(study), heard)


def test_looking_whether_a_study_is_held_is_in_nobodys_way(url: str, study: optuna.Study) -> None:
    looking = "import sys; from milair.study import lock, storage; database = storage.open_storage(sys.argv[1])"
    looking += "; study = storage.load_study(database, 'study'); print('looks')"
    looking += "\nwhile True: lock.is_held(study)"
    with Started(looking, url), Started(looking, url):
        for _ in range(20):
            with lock.held(study):
                pass


def test_a_holder_whose_host_vanished_is_given_up_by_the_server(server: Server) -> None:
    """The server asks the other host every few seconds; it says in its list of connections who holds what."""
    study = optuna.create_study(study_name="study", storage=storage.open_storage(server.database()))
    with lock.held(study) as hold:
        assert hold.connection is not None
        values = [hold.connection.execute(text(f"SHOW {name}")).scalar_one() for name in SERVER_ASKS]
        assert [int(value) for value in values] == [10, 5, 3]
        name = hold.connection.execute(text("SHOW application_name")).scalar_one()
        assert name == f"milair study on {socket.gethostname()}, process {os.getpid()}"[:63]


SERVER_ASKS = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count")


def test_locks_of_other_programs_and_other_databases_are_others(server: Server) -> None:
    studies = [
        optuna.create_study(study_name="study", storage=storage.open_storage(server.database())) for _ in range(2)
    ]
    assert studies[0]._study_id == studies[1]._study_id
    with storage.of(studies[0]).engine.connect() as connection, lock.held(studies[1]):
        connection.execute(text("SELECT pg_advisory_lock(:study)"), {"study": studies[0]._study_id})
        assert not lock.is_held(studies[0])
        with lock.held(studies[0]) as hold, lock.signed(hold):
            hold.check()


@pytest.mark.parametrize("kind", ["refuses options", "is another session"])
def test_a_pooler_is_recognised(server: Server, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """PgBouncer refuses what it does not know, and answers with a session of its own."""
    study = optuna.create_study(study_name="study", storage=storage.open_storage(server.database()))
    if kind == "refuses options":
        monkeypatch.setattr(lock, "_ALIVE", "-c unsupported_startup_parameter=1")
        monkeypatch.setattr(storage, "reason", lambda _: "FATAL: unsupported startup parameter in options: x")
    else:
        monkeypatch.setattr(lock, "text", lambda sql: text(sql.replace("pg_backend_pid()", "1")))
    with pytest.raises(MilairError, match="PgBouncer"), lock.held(study):
        raise AssertionError("it is held")


def test_only_what_a_search_runs_is_put_back(study: optuna.Study) -> None:
    ours, theirs, older = study.ask(), study.ask(), study.ask()
    ours.set_user_attr(lock.SEARCH, "an id")
    older.set_user_attr("worker", {"host": "elsewhere", "pid": 1, "started": 0})  # as milair 0.1 signed
    with lock.held(study) as hold:
        assert queue.put_back(hold, dry_run=True) == queue.put_back(hold) == [ours.number, older.number]
        assert queue.put_back(hold) == []
    assert [trial.state.name for trial in study.trials] == ["WAITING", "RUNNING", "WAITING"]
    assert study.ask().number == ours.number
    with lock.held(study) as hold:  # another program runs it now
        assert queue.put_back(hold) == []
    study.tell(theirs, 0.5)


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
    mine = new_settings(chosen, data, sessions.read_frames(data)).to_json()
    theirs = {name: value for name, value in (mine | change).items() if value is not None}
    opened = storage.open_storage(storage.default_url(tmp_path / "studies"))
    optuna.create_study(study_name="tiny@frames", storage=opened).set_user_attr(studies.SETTINGS, theirs)
    assert tiny.search(options) == 1
    said = capsys.readouterr().err
    assert f"incompatible version (they differ in '{next(iter(change))}')" in said
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
