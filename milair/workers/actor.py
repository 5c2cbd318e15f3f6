"""A worker as a Ray actor: what it has in place of a pipe, and what its node is held against."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from queue import SimpleQueue
from threading import Thread

from filelock import FileLock, Timeout

from milair import __version__
from milair.errors import MilairError, what_failed
from milair.frames.frame import Frame, Split
from milair.frames.pictures import Unreadable, cache_folder, look_at_all, seen_pictures
from milair.training.values import Ended, Inputs, Joined, Told, Training
from milair.workers.messages import Check, Start, Stop
from milair.workers.worker import Worker

_WEIGHTS = (".pth", ".safetensors")


@dataclass(frozen=True, slots=True)
class Parcel:
    """Frames and weights, for nodes that do not have them."""

    pictures: dict[str, bytes]  # files by their SHA-256 and suffix
    weights: dict[str, bytes]  # files by their names
    folder: bool  # they were a folder's, not one file

    @classmethod
    def of(cls, inputs: Inputs) -> "Parcel":
        source = Path(inputs.source)
        files = [path for path in source.glob("*") if path.suffix in _WEIGHTS] if source.is_dir() else [source]
        weights = {path.name: path.read_bytes() for path in files if path.is_file()}
        pictures = {_name(frame): frame.path.read_bytes() for frame in inputs.frames}
        return cls(pictures, weights, source.is_dir())

    @property
    def megabytes(self) -> float:
        return sum(map(len, (*self.pictures.values(), *self.weights.values()))) / 1e6

    def unpack(self, place: Path) -> tuple[Path, Path | None]:
        """Write what is not there yet; the pictures' folder, and where weights lie if there are some."""
        digest = sha256(b"".join(sha256(data).digest() for data in self.weights.values())).hexdigest()[:16]
        pictures, weights = place / "pictures", place / f"weights-{digest}"
        for folder, files in ((pictures, self.pictures), (weights, self.weights)):
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_suffix(".lock")):  # workers of one node begin together
                for name, data in files.items():
                    if not (folder / name).is_file():
                        part = folder / f"{name}.part"
                        part.write_bytes(data)
                        part.replace(folder / name)
        return pictures, (weights if self.folder else weights / next(iter(self.weights))) if self.weights else None


@dataclass(frozen=True, slots=True)
class Terms:
    """What a node has to agree to."""

    version: str  # of milair
    probe: Path | None  # a lock that the search holds in the folder of --bank; None: banks lie in the node's own cache


class Actor:
    """Two calls run at once here: `hear`, for as long as it lives, and what it is told. Ray ends it with its search."""

    def __init__(self) -> None:
        from milair.training import in_process  # noqa: F401  # takes seconds, and frames may not be known yet

        self.begin: SimpleQueue[tuple[Start, Terms, Parcel | None]] = SimpleQueue()
        self.requests: SimpleQueue[Start | Check | Training | Stop] = SimpleQueue()
        self.news: SimpleQueue[Told | None] = SimpleQueue()
        self.shipped: Path | None = None  # where pictures lie that came in a parcel

    def start(self, start: Start, terms: Terms, parcel: Parcel | None) -> None:
        self.begin.put((start, terms, parcel))

    def tell(self, request: Check | Training | Stop) -> None:
        self.requests.put(self._here(request))

    def hear(self) -> Iterator[Told]:
        """Joined once the node is seen to fit, and then all that the worker tells; else Ended, with the reason."""
        start, terms, parcel = self.begin.get()
        try:
            inputs = self._fit(start.inputs, terms, parcel)
        except (MilairError, OSError) as error:
            yield Ended("outside", what_failed(error))
            return
        self.requests.put(replace(start, inputs=inputs))
        Thread(target=self._work, daemon=True).start()
        yield Joined()
        while (news := self.news.get()) is not None:
            yield news

    def recv(self) -> Start | Check | Training | Stop:
        """As the worker's pipe; so is `send`."""
        return self.requests.get()

    def send(self, told: Told) -> None:
        self.news.put(told)

    def _work(self) -> None:
        try:
            Worker(self).work()
        finally:
            self.news.put(None)

    def _fit(self, inputs: Inputs, terms: Terms, parcel: Parcel | None) -> Inputs:
        """Inputs as they lie on this node. MilairError if it does not have what the search has."""
        if terms.version != __version__:
            raise MilairError(f"milair {__version__} is installed there, and the search is of {terms.version}")
        if parcel is not None:
            self.shipped, weights = parcel.unpack(cache_folder() / "shipped")
            inputs = replace(inputs, frames=self._frames(inputs.frames), source=str(weights or inputs.source))
        paths = [frame.path for frame in inputs.frames]
        for frame, picture in zip(inputs.frames, look_at_all(paths, paths[0].parent, seen_pictures()), strict=True):
            if isinstance(picture, Unreadable):
                raise MilairError(f"{frame.path} {picture}; --ship sends frames along")
            if picture.content != frame.picture.content:
                raise MilairError(f"{frame.path} is another picture than that of the search; --ship sends frames along")
        if terms.probe is None:
            return replace(inputs, folder=cache_folder() / "banks")
        refuse_unheld(terms.probe)
        return inputs

    def _here(self, request: Check | Training | Stop) -> Check | Training | Stop:
        """A request with frames as they lie on this node."""
        if isinstance(request, Check):
            return Check(self._moved(request.training))
        return self._moved(request) if isinstance(request, Training) else request

    def _moved(self, training: Training) -> Training:
        return replace(training, split=Split(self._frames(training.split.train), self._frames(training.split.val)))

    def _frames(self, frames: tuple[Frame, ...]) -> tuple[Frame, ...]:
        if (place := self.shipped) is None:
            return frames
        return tuple(replace(f, picture=replace(f.picture, path=place / _name(f))) for f in frames)


def refuse_unheld(probe: Path) -> None:
    """MilairError if a lock that another machine holds can be had here too: a bank there would be written by two."""
    if probe.exists():  # else the folder is this node's own
        try:
            FileLock(probe).acquire(timeout=0).lock.release()
        except Timeout:
            return
        raise MilairError(
            f"--bank {probe.parent}: locks on this disk do not hold from one machine to another; "
            "without --bank each node keeps features in a cache of its own"
        )


def _name(frame: Frame) -> str:
    return f"{frame.picture.content.hex()}{frame.path.suffix.lower()}"
