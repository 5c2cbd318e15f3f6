"""A PostgreSQL server for tests, with a password: found, started, stopped, started again; a database for each test.

A test module takes it as `pytest_plugins = ["postgres"]`."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from pwd import getpwall
from tempfile import TemporaryDirectory

import psutil
import pytest
from sqlalchemy import NullPool, create_engine

_SETTINGS = {"listen_addresses": "127.0.0.1", "shared_buffers": "16MB", "timezone": "Asia/Tokyo"}


class Server:
    """A server on a port of this machine. It runs as "postgres" where this is root, as whom it refuses to run."""

    password = "open-sesame"

    def __init__(self, binaries: Path, folder: Path) -> None:
        self.binaries, self.folder = binaries, folder
        self.user = "postgres" if os.geteuid() == 0 else None
        self.names = (f"studies_{number}" for number in count(1))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        file = folder / "password"
        file.write_text(self.password)
        if self.user:
            shutil.chown(folder, self.user)
            shutil.chown(file, self.user)
        self._run("initdb", "--username=milair", "--auth=scram-sha-256", f"--pwfile={file}", "--encoding=UTF8")
        file.unlink()

    def start(self) -> None:
        settings = _SETTINGS | {"port": self.port, "unix_socket_directories": self.folder}
        options = " ".join(f"-c {name}={value}" for name, value in settings.items())
        self._run("pg_ctl", "start", "--wait", f"--log={self.folder / 'log'}", f"--options={options}")

    def stop(self, mode: str = "fast") -> None:
        """Modes: "fast", or "immediate", as if the power failed."""
        self._run("pg_ctl", "stop", "--wait", f"--mode={mode}")

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """A block in which it answers nobody: its processes are stopped."""
        first = psutil.Process(int((self.folder / "data" / "postmaster.pid").read_text().split()[0]))
        processes = [first, *first.children()]
        try:
            for process in processes:
                process.suspend()
            yield
        finally:
            for process in processes:
                with suppress(psutil.NoSuchProcess):  # the first one, when it goes on, may end others
                    process.resume()

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [self.binaries / program, "-D", self.folder / "data", *arguments],
            check=True,
            cwd=self.folder,
            user=self.user,
            stdout=subprocess.DEVNULL,
        )

    def url(self, database: str) -> str:
        return f"postgresql://milair:{self.password}@127.0.0.1:{self.port}/{database}"

    def execute(self, statement: str) -> None:
        address = self.url("postgres").replace("postgresql:", "postgresql+psycopg2:")
        engine = create_engine(address, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)

    def database(self, **settings: str) -> str:
        """The URL of a fresh database, with settings of its own."""
        name = next(self.names)
        self.execute(f"CREATE DATABASE {name}")
        for setting, value in settings.items():
            self.execute(f"ALTER DATABASE {name} SET {setting} = {value}")
        return self.url(name)


def _binaries() -> Path | None:
    """The folder of initdb and pg_ctl."""
    asked = shutil.which("pg_config")
    told = subprocess.run([asked, "--bindir"], capture_output=True, text=True).stdout.strip() if asked else ""
    newest_first = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -float(path.parent.name))
    folders = [Path(told), *newest_first, Path(shutil.which("initdb") or "none").parent]
    return next((folder for folder in folders if (folder / "initdb").is_file()), None)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed here")
    if find_spec("psycopg2") is None:
        pytest.skip("psycopg2 is not installed: pip install psycopg2-binary")
    if os.geteuid() == 0 and not any(user.pw_name == "postgres" for user in getpwall()):
        pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres")
    with TemporaryDirectory(prefix="milair-") as folder:  # pytest's own folders are closed to other users
        made = Server(binaries, Path(folder))
        made.start()
        try:
            yield made
        finally:
            made.stop("immediate")  # its data go with its folder
