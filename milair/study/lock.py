"""The lock of a study: one search at a time writes it, for as long as the search lives.

Beside SQLite it is a file that the operating system unlocks when its holder ends, however that happens; on PostgreSQL
an advisory lock of a connection of its own, which the server gives up once that connection is dead. A search also
writes its id into the study: whoever finds another one there has lost the study, and must not write any more.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import optuna
from filelock import FileLock, Timeout
from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from milair.errors import MilairError, OutsideError
from milair.study import storage

SEARCH = "search"  # of a study: who searches it; of a trial: the id of the search that runs it
_MINE = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted")
_HOLDER = text(
    "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' "
    "AND granted AND (classid::bigint << 32) + objid::bigint = :key AND objsubid = 1"
)
# A holder whose host has vanished is noticed within half a minute.
_ALIVE = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"


@dataclass(frozen=True)
class Hold:
    """A study that is held. Writing needs `check` first."""

    study: optuna.Study
    id: str
    connection: Connection | None = None  # PostgreSQL's

    def sign(self) -> None:
        """Write who searches the study from now on."""
        who = {"id": self.id, "host": socket.gethostname(), "pid": os.getpid()}
        self.study.set_user_attr(SEARCH, who)

    def check(self) -> None:
        """OutsideError if the study is not ours any more: then nothing may be told."""
        try:
            held = self.connection is None or self.connection.execute(_MINE).scalar_one() > 0
        except SQLAlchemyError as error:
            raise OutsideError(f"the connection that holds the study is lost ({storage.reason(error)})") from None
        if not held or (self.study.user_attrs.get(SEARCH) or {}).get("id") != self.id:
            raise OutsideError(f"study {self.study.study_name} is held by another search now; this one ends")


@contextmanager
def held(study: optuna.Study, done: str = "searched") -> Iterator[Hold]:
    """A block that holds a study alone. MilairError, with who holds it, if another process does."""
    base = storage.of(study)
    if base.engine.dialect.name == "sqlite":
        path = Path(str(base.engine.url.database))
        lock = FileLock(path.with_name(f".{path.name}.{study._study_id}.lock"))
        try:
            lock.acquire(timeout=1)
        except Timeout:
            who = study.user_attrs.get(SEARCH) or {}
            _refuse(study, f"process {who.get('pid', '?')} on {who.get('host', 'this host')}", done)
        try:
            yield Hold(study, uuid4().hex)
        finally:
            lock.release()
        return
    name, key = f"milair {study.study_name} on {socket.gethostname()}, process {os.getpid()}", study._study_id
    arguments = {"keepalives_idle": 10, "application_name": name[:63], "options": _ALIVE}
    engine = create_engine(base.engine.url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=arguments)
    with engine.connect() as connection:
        if not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar_one():
            _refuse(study, str(connection.execute(_HOLDER, {"key": key}).scalar()), done)
        hold = Hold(study, uuid4().hex, connection)
        if connection.execute(_MINE).scalar_one() != 1:
            raise MilairError("the database is behind a pooler that breaks session locks; connect to PostgreSQL itself")
        yield hold


def is_held(study: optuna.Study) -> bool:
    """Whether a search runs, here or on another host."""
    try:
        with held(study):
            return False
    except MilairError:
        return True


def _refuse(study: optuna.Study, who: str, done: str) -> Any:
    raise MilairError(
        f"study {study.study_name} is being searched by {who}; it can be {done} when that has ended "
        "(more workers of one search: --devices, --per-device)"
    )


@contextmanager
def signed(hold: Hold) -> Iterator[None]:
    """A block in which the study says who searches it."""
    hold.sign()
    try:
        yield
    finally:
        with suppress(Exception):  # the database may be the trouble
            hold.check()
            hold.study.set_user_attr(SEARCH, None)
