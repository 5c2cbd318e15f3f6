"""A packed study as a file: a zip whose manifest names every member with its SHA-256. Nothing in it is ever run.

A reader gets it after every name, size and hash was checked; a writer's file appears when it is whole.
"""

import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import IO, Any

from milair import __version__
from milair.errors import MilairError, OutsideError, first_line, what_failed

FORMAT = 1  # one more when an older milair could not read it
_MANIFEST = "manifest.json"
_CHUNK = 1 << 20  # bytes
_DAMAGE = (
    *(zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError),
    *(NotImplementedError, RuntimeError, ValueError, KeyError, TypeError, OverflowError),
)


@dataclass
class Writer:
    file: zipfile.ZipFile
    hashes: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, chunks: Iterable[bytes]) -> None:
        """A member, compressed."""
        digest = sha256()
        with self.file.open(name, "w", force_zip64=True) as member:
            for chunk in chunks:
                digest.update(chunk)
                member.write(chunk)
        self.hashes[name] = digest.hexdigest()

    def add_json(self, name: str, value: Any) -> None:
        self.add(name, [json.dumps(value).encode()])

    def add_file(self, name: str, path: Path) -> None:
        with path.open("rb") as file:
            self.add(name, _chunks(file))


@dataclass(frozen=True)
class Archive:
    """A file that was checked."""

    manifest: Mapping[str, Any]
    file: zipfile.ZipFile

    def names(self, folder: str) -> list[str]:
        """Members of a folder, by their names below it."""
        return [name.partition("/")[2] for name in self.manifest["files"] if name.startswith(f"{folder}/")]

    def read(self, name: str) -> bytes:
        return self.file.read(name)

    def json(self, name: str) -> Any:
        return json.loads(self.read(name))

    def open(self, name: str) -> IO[bytes]:
        return self.file.open(name)

    def extract(self, name: str, path: Path) -> None:
        """Write a member to a path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.open(name) as member, path.open("xb") as file:
            for chunk in _chunks(member):
                file.write(chunk)


@contextmanager
def writing(path: Path, about: Mapping[str, Any]) -> Iterator[Writer]:
    """A block that fills a file; its manifest says what it is `about`. MilairError if there is such a file already.

    Whatever ends the block early leaves no file. OutsideError for a full disk."""
    if path.exists():
        raise MilairError(f"{path}: there is such a file already; name another one")
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as raw, zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as file:
            writer = Writer(file)
            yield writer
            manifest = {"format": FORMAT, "milair": __version__, **about, "files": writer.hashes}
            file.writestr(_MANIFEST, json.dumps(manifest, indent=2), zipfile.ZIP_DEFLATED)
        part.replace(path)
    except OSError as error:
        raise OutsideError(f"{path}: {error.strerror or first_line(error)}") from error
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def reading(path: Path) -> Iterator[Archive]:
    """A block with a packed study. MilairError if it is damaged, cut short, of a newer format, or something else."""
    try:
        raw = path.open("rb")
    except OSError as error:
        raise MilairError(what_failed(error)) from None
    with raw:
        try:
            file = zipfile.ZipFile(raw)
            archive = Archive(json.loads(file.read(_MANIFEST)), file)
            version = archive.manifest["format"]
            newer = isinstance(version, int) and version > FORMAT
        except (*_DAMAGE, OSError) as error:
            raise MilairError(f"{path}: not a packed study, or damaged or cut short ({first_line(error)})") from None
        if newer:
            raise MilairError(
                f"{path}: packed by milair {archive.manifest.get('milair')} in format {version}; this is milair "
                f"{__version__}, which reads format {FORMAT}; `pip install -U milair`"
            )
        try:
            _check(archive)
        except MilairError as error:
            raise MilairError(f"{path}: {error}") from None
        except (*_DAMAGE, OSError) as error:
            raise MilairError(f"{path}: damaged ({first_line(error)})") from None
        yield archive


def _check(archive: Archive) -> None:
    """MilairError, ValueError or what a zip raises if any member is not what the manifest says, or lies elsewhere."""
    members, hashes = archive.file.infolist(), archive.manifest["files"]
    names = [member.filename for member in members]
    if sorted(names) != sorted([_MANIFEST, *hashes]):
        raise MilairError("damaged: its members are not those of its manifest")
    for member in members:
        name = member.filename
        parts = PurePosixPath(name).parts
        if name.startswith("/") or "\\" in name or ":" in parts[0] or ".." in parts or str(PurePosixPath(name)) != name:
            raise MilairError(f"refused, as its member {name!r} would lie outside of a folder")
        if member.compress_type != zipfile.ZIP_DEFLATED:
            raise MilairError(f"damaged: its member {name} is not compressed as milair does")
    for name, expected in hashes.items():
        digest = sha256()
        with archive.open(name) as opened:
            for chunk in _chunks(opened):
                digest.update(chunk)
        if digest.hexdigest() != expected:
            raise MilairError(f"damaged: its member {name} is not what was packed")


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk
