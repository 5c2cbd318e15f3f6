"""One way to open a database of studies, hardened against what several writers do to it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import psutil
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy import URL, Connection, Engine, NullPool, UniqueConstraint, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from milair.errors import MilairError, first_line, what_failed

_WAIT = 60  # seconds for another writer to finish
_ANSWER = 10  # seconds for a server to answer
_DIALECTS = ("sqlite", "postgresql")
_ATTRIBUTE = text("SELECT value_json FROM study_user_attributes WHERE study_id = :study AND key = :name")
_NETWORK_DISKS = ("nfs", "cifs", "smb", "afs", "9p", "lustre", "ceph", "gluster", "beegfs", "gpfs", "sshfs", "davfs")


def default_url(studies: Path) -> str:
    return f"sqlite:///{studies / 'milair.db'}"


def shown(url: str) -> str:
    """A URL for people and other programs, without its password, which PGPASSWORD or ~/.pgpass can give them."""
    if url.startswith("sqlite"):
        return url
    try:
        parts = _with_driver(make_url(url))
        return parts._replace(password=None).difference_update_query(["password"]).render_as_string()
    except (SQLAlchemyError, ValueError):
        return f"{url.partition(':')[0]}:…"


def open_storage(url: str, *, create: bool = True) -> RDBStorage:
    """The storage at an SQLAlchemy URL, SQLite's or PostgreSQL's.

    MilairError if it cannot be opened, is absent and not to be created, or would not be safe with several writers."""
    address, arguments = url, dict[str, Any]()
    alone: AbstractContextManager[Any] = nullcontext()
    path = _file(url)
    if path is not None:
        if not create and not path.is_file():
            raise MilairError(f"{path}: there is no database of studies there; a search makes one")
        _refuse_network_disk(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MilairError(what_failed(error)) from None
        arguments = {"connect_args": {"timeout": _WAIT}}
        alone = FileLock(path.with_name(f".{path.name}.lock"))  # two that create one fresh database fail
    try:
        if path is None:
            address, arguments = _server(url), {"pool_pre_ping": True}  # idle connections are closed by many a server
            alone = _locked(create_engine(address, poolclass=NullPool))
        with alone:
            storage = RDBStorage(address, engine_kwargs=arguments)
    except (SQLAlchemyError, StorageInternalError, RuntimeError, ImportError, OSError) as error:
        raise MilairError(_cannot_open(url, error)) from error
    if path is not None:
        _harden(storage)
    return storage


def _file(url: str) -> Path | None:
    """The file of an SQLite URL, None for a server. MilairError for what several processes cannot share."""
    try:
        parts = make_url(url)
    except (SQLAlchemyError, ValueError):
        raise MilairError(
            f"--storage {shown(url)}: not an SQLAlchemy URL, such as sqlite:///studies/milair.db"
        ) from None
    dialect = parts.get_backend_name()
    if dialect not in _DIALECTS:
        raise MilairError(f"--storage {dialect}: milair keeps studies in SQLite or PostgreSQL")
    if dialect != "sqlite":
        return None
    if parts.database in (None, "", ":memory:"):
        raise MilairError(f"--storage {url}: a database in memory cannot be shared with workers; name a file")
    return Path(str(parts.database))


def _server(url: str) -> str:
    """A server's URL with its driver, and with an end to waiting for one that does not answer."""
    parts = _with_driver(make_url(url))
    if parts.get_driver_name().startswith("psycopg"):
        parts = parts.set(query={"connect_timeout": str(_ANSWER)} | dict(parts.query))
    return parts.render_as_string(hide_password=False)


def _with_driver(url: URL) -> URL:
    """postgresql:// means the driver that is installed; to SQLAlchemy it means psycopg, or psycopg2 before 2.1."""
    for driver in ("psycopg", "psycopg2"):
        if url.drivername == "postgresql" and find_spec(driver) is not None:
            return url.set(drivername=f"postgresql+{driver}")
    return url


def _refuse_network_disk(path: Path) -> None:
    """SQLite's locks and its write-ahead log need one machine's memory."""
    place = path.resolve()
    mounts = [part for part in psutil.disk_partitions(all=True) if place.is_relative_to(part.mountpoint)]
    kind = max(mounts, key=lambda part: len(part.mountpoint)).fstype.lower() if mounts else ""
    if any(name in kind for name in _NETWORK_DISKS):
        raise MilairError(
            f"{path}: lies on a network disk ({kind}), where SQLite loses trials; "
            "--studies DIR on a disk of this machine, or --storage postgresql://…"
        )


def _cannot_open(url: str, error: Exception) -> str:
    said = reason(error)
    if "no longer compatible with the table schema" in said:
        by = said.partition("set up by ")[2].partition(")")[0]
        upgrade = f"`optuna storage upgrade --storage {shown(url)}` brings it up to date (copy it first)"
        way_out = "`pip install -U optuna` brings that" if "pip install" in said else upgrade
        return f"{shown(url)}: made by {by}, and this is optuna {optuna.__version__}; {way_out}"
    if isinstance(error, ImportError):
        return f"{shown(url)}: PostgreSQL wants a driver ({said}); `pip install psycopg2-binary` brings one"
    return f"{shown(url)}: cannot be opened as a database of studies ({said})"


def _harden(storage: RDBStorage) -> None:
    """Write-ahead log, and a transaction that takes the write lock when it begins.

    SQLite has no SELECT … FOR UPDATE: without BEGIN IMMEDIATE two workers pop the same queued trial."""

    @event.listens_for(storage.engine, "connect")
    def connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # or sqlite3 begins transactions of its own
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(storage.engine, "begin")
    def begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    storage.engine.dispose()  # connections from before the listeners


def of(study: optuna.Study) -> RDBStorage:
    """The storage behind a study."""
    inner = getattr(study._storage, "_backend", study._storage)
    assert isinstance(inner, RDBStorage)
    return inner


def attribute(study: optuna.Study, name: str) -> Any:
    """One user attribute of a study. KeyError if there is none of that name, or no such study any more."""
    with of(study).engine.connect() as connection:
        stored = connection.execute(_ATTRIBUTE, {"study": study._study_id, "name": name}).scalar()
    if stored is None:
        raise KeyError(name)
    return json.loads(stored)


def put(connection: Connection, table: Any, *rows: Mapping[str, Any]) -> None:
    """Insert rows into a table of Optuna's, or replace those that are of the same trial or study and the same name."""
    connection.execute(_put(connection.dialect.name, table), rows)


@cache
def _put(dialect: str, table: Any) -> Any:
    """The statement, which takes long to build. Optuna's tables hold two columns to be unique together."""
    insert: Any = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[dialect](table)
    unique = next(part for part in table.__table__.constraints if isinstance(part, UniqueConstraint)).columns.keys()
    others = {name: value for name, value in insert.excluded.items() if name not in unique and not value.primary_key}
    return insert.on_conflict_do_update(index_elements=unique, set_=others)


@contextmanager
def _locked(engine: Engine) -> Iterator[None]:
    """A lock that a PostgreSQL server keeps for a transaction: one process at a time creates the tables."""
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('milair'))"))
        yield


@contextmanager
def experimental() -> Iterator[None]:
    """A block that uses what Optuna calls experimental, and knows it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def reason(error: BaseException) -> str:
    """The first line of the error that began it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


def load_study(storage: RDBStorage, name: str) -> optuna.Study:
    """The study of that name, or the only one of that space: `heads` finds `heads@milair`. Else they are listed."""
    known = sorted(optuna.get_all_study_names(storage))
    fitting = [name] if name in known else [study for study in known if study.split("@")[0] == name]
    if len(fitting) == 1:
        return optuna.load_study(study_name=fitting[0], storage=storage)
    if fitting:
        raise MilairError(f"study {name} can mean {' or '.join(fitting)}; name one of them")
    raise MilairError(f"there is no study '{name}'; there are: {', '.join(known) or 'none'}")
