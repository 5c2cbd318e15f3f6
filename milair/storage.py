"""One way to open a study's database, hardened against what SQLite does to several writers."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from milair.errors import MilairError, first_line

_WAIT = 60  # seconds for another writer to finish


def default_url(studies: Path) -> str:
    return f"sqlite:///{studies / 'milair.db'}"


def open_storage(url: str, *, create: bool = True) -> RDBStorage:
    """The storage at an SQLAlchemy URL. MilairError if it cannot be opened, or is absent and not to be created."""
    arguments: dict[str, Any] = {}
    alone: AbstractContextManager[Any] = nullcontext()
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///"))
        if not create and not path.is_file():
            raise MilairError(f"{path}: there is no database of studies there; a search makes one")
        path.parent.mkdir(parents=True, exist_ok=True)
        arguments = {"connect_args": {"timeout": _WAIT}}
        alone = FileLock(path.with_name(f".{path.name}.lock"))  # two that create one fresh file fail
    try:
        with alone:
            storage = RDBStorage(url, engine_kwargs=arguments)
    except (SQLAlchemyError, RuntimeError, ImportError) as error:
        raise MilairError(f"{url}: cannot be opened as a database of studies ({first_line(error)})") from error
    if storage.engine.dialect.name == "sqlite":
        _harden(storage)
    return storage


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


def load_study(storage: RDBStorage, name: str) -> optuna.Study:
    """The study of that name, or the only one of that space: `heads` finds `heads@milair`. Else they are listed."""
    known = sorted(optuna.get_all_study_names(storage))
    fitting = [name] if name in known else [study for study in known if study.split("@")[0] == name]
    if len(fitting) == 1:
        return optuna.load_study(study_name=fitting[0], storage=storage)
    if fitting:
        raise MilairError(f"--study {name} can mean {' or '.join(fitting)}; name one of them")
    raise MilairError(f"there is no study '{name}'; there are: {', '.join(known) or 'none'}")
