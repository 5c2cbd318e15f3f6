"""The lock of a study: one search at a time writes it, for as long as the search lives.

Beside SQLite it is a file that the operating system unlocks when its holder ends, however that happens; on PostgreSQL
an advisory lock of a connection of its own, which the server gives up once that connection is dead. A search also
writes its id into the study: whoever finds another one there has lost the study, and must not write any more.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from time import monotonic, sleep
from typing import Any, NoReturn

import optuna
from filelock import FileLock, Timeout
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from milair.errors import MilairError, OutsideError
from milair.study import storage, writing

SEARCH = "search"  # of a study: who searches it; of a trial: the id of the search that runs it
_WAIT = 1  # seconds for a holder that is just ending
_SPACE = 0x6D696C61  # "mila": other programs lock in the same database
_TAKE = text(f"SELECT pg_try_advisory_lock({_SPACE}, :study)")
_HELD = (
    "SELECT count(*) FROM pg_locks JOIN pg_database ON database = pg_database.oid AND datname = current_database() "
    f"WHERE locktype = 'advisory' AND granted AND classid = {_SPACE} AND objid = :study AND objsubid = 2"
)
_MINE = _HELD + " AND pid = pg_backend_pid()"
_POOLER = "the server is behind a pooler such as PgBouncer, which breaks the lock of a study; name PostgreSQL itself"
# A holder whose host has vanished is noticed within half a minute.
_ALIVE = "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"


@dataclass(frozen=True)
class Hold:
    """A study that is held, as its one writer has it. Writing needs `check` first."""

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
            held = self.connection is None or _count(self.connection, _MINE, self.study)
            holder = (storage.attribute(self.study, SEARCH) or {}).get("id")
        except SQLAlchemyError as error:
            raise OutsideError(f"the connection that holds the study is lost ({storage.reason(error)})") from None
        except KeyError:
            raise OutsideError(f"study {self.study.study_name} was deleted") from None
        if not held or holder != self.id:
            raise OutsideError(f"study {self.study.study_name} is held by another search now; this one ends")

    def save(self) -> None:
        """Write in one transaction what was set on trials since the last time. OutsideError as for `check`."""
        if (writer := writing.of(self.study)).waits:
            self.check()
            writer.save()

    def put_back(self, trial: FrozenTrial | optuna.Trial) -> None:
        """Let a trial wait as it was, for whichever program runs it next."""
        writing.of(self.study).set_trial_state_values(trial._trial_id, TrialState.WAITING)
        storage.of(self.study).set_trial_user_attr(trial._trial_id, SEARCH, None)


@contextmanager
def held(study: optuna.Study, done: str = "searched") -> Iterator[Hold]:
    """A block that holds a study alone. MilairError, with who holds it, if another process does."""
    if _is_file(study):
        try:
            lock = _file(study).acquire(_WAIT)
        except Timeout:
            _refuse(study, done)
        with lock:
            yield Hold(writing.alone(study), token_hex(8))
        return
    name = f"milair {study.study_name} on {socket.gethostname()}, process {os.getpid()}"
    arguments = {"keepalives_idle": 10, "application_name": name[:63], "options": _ALIVE}
    url, deadline = storage.of(study).engine.url, monotonic() + _WAIT
    engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT", connect_args=arguments)
    try:
        connection = engine.connect()
    except SQLAlchemyError as error:
        said = storage.reason(error)
        raise MilairError(_POOLER if "unsupported startup parameter" in said else said) from None
    with connection:
        driver: Any = connection.connection.dbapi_connection
        if driver.info.backend_pid != connection.execute(text("SELECT pg_backend_pid()")).scalar_one():
            raise MilairError(_POOLER)
        while not connection.execute(_TAKE, {"study": study._study_id}).scalar_one():
            if monotonic() > deadline:
                _refuse(study, done)
            sleep(_WAIT / 10)
        yield Hold(writing.alone(study), token_hex(8), connection)


def is_held(study: optuna.Study) -> bool:
    """Whether a search runs, here or on another host."""
    if not _is_file(study):
        with storage.of(study).engine.connect() as connection:
            return _count(connection, _HELD, study) > 0
    try:
        with _file(study).acquire(0):
            return False
    except Timeout:
        return True


@contextmanager
def signed(hold: Hold) -> Iterator[None]:
    """A block in which the study says who searches it."""
    hold.sign()
    yield
    hold.check()  # not after an error: the database may be the trouble, and the lock alone says who searches
    hold.study.set_user_attr(SEARCH, None)


def _is_file(study: optuna.Study) -> bool:
    return storage.of(study).engine.dialect.name == "sqlite"


def _file(study: optuna.Study) -> FileLock:
    path = Path(str(storage.of(study).engine.url.database))
    return FileLock(path.with_name(f".{path.name}.{study._study_id}.lock"))


def _count(connection: Connection, locks: str, study: optuna.Study) -> int:
    return int(connection.execute(text(locks), {"study": study._study_id}).scalar_one())


def _refuse(study: optuna.Study, done: str) -> NoReturn:
    who = study.user_attrs.get(SEARCH) or {}
    raise MilairError(
        f"study {study.study_name} is being searched by process {who.get('pid', '?')} on {who.get('host', '?')}; "
        f"it can be {done} when that has ended (more workers of one search: --devices, --per-device)"
    )
