"""A study's dashboard, served to this machine alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
from optuna.artifacts import FileSystemArtifactStore

from milair.errors import MilairError, what_failed
from milair.study import storage

_HOST = "127.0.0.1"


@dataclass(frozen=True)
class Server:
    """One that listens already."""

    url: str  # of the study's page
    inner: WSGIServer

    def serve(self) -> None:
        """Answer until the process is interrupted, or another thread shuts `inner` down."""
        self.inner.serve_forever()


@contextmanager
def listening(study: optuna.Study, place: Path, port: int | None = None) -> Iterator[Server]:
    """A block in which the dashboard of a study's database can be served, with the folder of artifacts.

    `port`: a free one if None. MilairError if another program has it."""
    import optuna_dashboard  # seconds

    with storage.experimental():
        app = optuna_dashboard.wsgi(storage.of(study), artifact_store=FileSystemArtifactStore(place))
    try:
        server = make_server(_HOST, port or 0, app, _Threads, _Quiet)
    except (OSError, OverflowError) as error:
        raise MilairError(f"--port {port}: {what_failed(error)}") from None
    with server:
        yield Server(f"http://{_HOST}:{server.server_port}/dashboard/studies/{study._study_id}", server)


class _Threads(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """A line for each request helps nobody."""
