"""Picture files: opened one way everywhere, and what is to be known of each, found out once.

A picture is what a viewer shows: turned as its EXIF says, RGB, 8 bits a channel; alpha is left out. To tell a whole
file from a truncated one it has to be decoded, so what is found is remembered until the file changes.
"""

from __future__ import annotations

import hashlib
import io
import os
import sqlite3
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from milair.errors import MilairError, OutsideError, first_line

LOOK = 8  # sides of the small picture by which near-duplicates are found
_DRAFT = (8 * LOOK, 8 * LOOK)  # JPEGs are decoded at an eighth of their size where that suffices, all of the file read
_FEW = 100  # pictures that take no time worth telling of
_TABLE = """CREATE TABLE IF NOT EXISTS pictures (
    folder, path PRIMARY KEY, size, mtime, ctime, width, height, mode, orientation, content, look)"""

_TURNS = {  # what brings a picture upright, by the orientation of its EXIF
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Key = tuple[str, int, int, int]  # path, size, times of change of the file and of its entry
Progress = Callable[[str, int, int], None]  # what, done, total


@dataclass(frozen=True, slots=True)
class Scan:
    """What is known of a whole, decodable picture file."""

    width: int  # as it is shown
    height: int
    mode: str  # as stored, Pillow's: RGB, L, P, CMYK, I;16, RGBA …
    orientation: int  # of its EXIF; 1 if it has none. From 5 on, width and height are swapped
    content: bytes  # SHA-256 of the file
    look: bytes  # LOOK x LOOK RGB

    @property
    def stored(self) -> tuple[int, int]:
        """Width and height without its EXIF."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


class Unreadable(MilairError):
    """A file that is no whole picture, as the rest of a line that begins with its path."""


def scan(path: Path) -> Scan:
    """What a picture file is. Unreadable says why it is none."""
    try:
        key = _key(path)
        if not path.is_file():  # to read a pipe is to wait for ever
            raise Unreadable("is a folder, a pipe or a device; it must be a file")
        if key not in _known:
            _known[key] = _look_at(path.read_bytes())
        return _known[key]
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from None


def scan_all(
    paths: Sequence[Path], folder: Path, remember: Path | None = None, progress: Progress | None = None
) -> list[Scan | Unreadable]:
    """What the pictures of a folder are. `remember` is a database that keeps it between processes."""
    if remember is not None:
        _recall(remember, folder)
    new = [path for path in paths if _new(path)]
    found: dict[Path, Scan | Unreadable] = {}
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # Pillow lets others run
        warnings.simplefilter("ignore")  # as in open_rgb, here once for all threads
        for path, result in zip(new, pool.map(_result, new), strict=True):
            found[path] = result
            if progress and len(new) > _FEW and (len(found) % _FEW == 0 or len(found) == len(new)):
                progress("pictures checked", len(found), len(new))
    if remember is not None and new:
        _keep(remember, folder, (path for path, result in found.items() if isinstance(result, Scan)))
    return [found[path] if path in found else _result(path) for path in paths]


def content(path: Path) -> bytes:
    """The SHA-256 of a picture file. OutsideError if it cannot be read any more."""
    try:
        return scan(path).content
    except Unreadable as error:
        raise OutsideError(f"{path} {error}") from None


def open_rgb(path: Path, draft: tuple[int, int] | None = None) -> Image.Image:
    """The picture as it is shown, RGB. Unreadable says why there is none.

    With `draft` a JPEG comes in a fraction of its size, quickly, but no smaller than that."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large pictures, transparent palettes, broken EXIF
            return _decode(path.read_bytes(), draft)[0]
    except FileNotFoundError:
        raise Unreadable("is not there any more") from None
    except OSError as error:
        raise Unreadable(f"cannot be read ({error.strerror})") from None


def _decode(data: bytes, draft: tuple[int, int] | None) -> tuple[Image.Image, tuple[int, int], str, int]:
    """A file's picture as it is shown, RGB, and what the file holds: its size as shown, mode and orientation."""
    if not data:
        raise Unreadable("is not a readable picture (it is empty, 0 bytes)")
    try:
        with Image.open(io.BytesIO(data)) as opened:  # by its name Pillow would map it, and turned TIFFs come garbled
            mode, (width, height) = opened.mode, opened.size
            if mode in ("I", "F"):
                raise Unreadable(f"holds numbers of 32 bits (mode {mode}); save it with 8 or 16")
            if opened.format == "EPS":  # Pillow would run it, by Ghostscript
                raise Unreadable("is a program for printers (EPS); save it as PNG")
            if draft is not None:
                opened.draft("RGB", draft)
            opened.load()
            orientation = _orientation(opened)  # 1 for a TIFF, which is upright once it is loaded
            picture = opened.transpose(_TURNS[orientation]) if orientation in _TURNS else opened
            if picture.mode.startswith("I;16"):  # Pillow would cut off at 255 what goes to 65535
                picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
            size = (height, width) if orientation >= 5 else (width, height)
            return picture.convert("RGB"), size, mode, orientation
    except Unreadable:
        raise
    except Image.DecompressionBombError as error:
        raise Unreadable(f"is too large to decode safely ({first_line(error)})") from None
    except UnidentifiedImageError:
        raise Unreadable("is not a readable picture (of no kind that Pillow knows)") from None
    except Exception as error:  # decoders raise many kinds for broken files; each means the same to the reader
        raise Unreadable(f"is not a readable picture ({first_line(error)})") from None


def _orientation(picture: Image.Image) -> int:
    """1 to 8; 1 also where the EXIF is broken or says something else, as viewers take it."""
    try:
        said = picture.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # parsers raise many kinds
        return 1
    return int(said) if said in _TURNS else 1


_known: dict[Key, Scan] = {}


def _key(path: Path) -> Key:
    stat = path.stat()
    return str(path), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _new(path: Path) -> bool:
    try:
        return _key(path) not in _known
    except OSError:
        return True


def _result(path: Path) -> Scan | Unreadable:
    try:
        return scan(path)
    except Unreadable as error:
        return error


def _look_at(data: bytes) -> Scan:
    picture, size, mode, orientation = _decode(data, _DRAFT)
    look = picture.resize((LOOK, LOOK), Image.Resampling.BOX).tobytes()
    return Scan(*size, mode, orientation, hashlib.sha256(data).digest(), look)


def _recall(database: Path, folder: Path) -> None:
    with suppress(sqlite3.Error), closing(sqlite3.connect(database)) as connection:
        for row in connection.execute("SELECT * FROM pictures WHERE folder = ?", [str(folder)]):
            _known[row[1:5]] = Scan(*row[5:])


def _keep(database: Path, folder: Path, paths: Iterable[Path]) -> None:
    """A database that cannot be written costs time at the next start, and nothing else."""
    with suppress(sqlite3.Error, OSError, KeyError):  # also of a picture that changes meanwhile
        rows = [(str(folder), *key, *astuple(_known[key])) for key in map(_key, paths)]
        database.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute(_TABLE)
            connection.executemany(f"INSERT OR REPLACE INTO pictures VALUES ({', '.join('?' * 11)})", rows)
