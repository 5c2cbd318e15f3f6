"""Picture files: opened one way everywhere, and what is to be known of each.

A picture is what a viewer shows: turned as its EXIF says, RGB, 8 bits a channel; alpha is left out. To tell a whole
file from a truncated one it has to be decoded, so what was seen of it can be remembered until the file changes.
"""

import hashlib
import io
import os
import sqlite3
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from platformdirs import user_cache_path

from milair.errors import MilairError, first_line

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp")  # suffixes, for folders and bare stems
LOOK = 8  # sides of the small picture by which near-duplicates are found
_FEW = 100  # pictures that take no time worth telling of

Stamp = tuple[int, int, int] | None  # size, and times of change (ns) of a file and of its entry
Progress = Callable[[str, int, int], None]  # what, done, total


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known of a whole, decodable picture file."""

    path: Path
    width: int  # as it is shown
    height: int
    mode: str  # as stored, Pillow's: RGB, L, P, CMYK, I;16, RGBA …
    orientation: int  # of its EXIF; 1 if it has none. From 5 on, width and height are swapped
    content: bytes  # SHA-256 of the file
    look: bytes  # LOOK x LOOK RGB


class Unreadable(MilairError):
    """A file that is no whole picture, as the rest of a line that begins with its path."""


def look_at(path: Path) -> Picture:
    """What a picture file holds. Unreadable says why it is none."""
    (picture,) = look_at_all([path], path.parent)
    if isinstance(picture, Unreadable):
        raise picture
    return picture


def look_at_all(
    paths: Sequence[Path], folder: Path, remember: Path | None = None, progress: Progress | None = None
) -> list[Picture | Unreadable]:
    """What the pictures of a folder hold, in their order. `remember` is a database that keeps it between processes."""
    stamps = {path: stamp(path) for path in paths}  # before they are read: one that changes then is read again
    pictures = _recall(remember, folder, stamps) if remember else {}
    new = [path for path in stamps if path not in pictures]
    # Warnings are ignored as in open_rgb, here once for all threads. While Pillow decodes, it lets other threads run.
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for done, (path, picture) in enumerate(zip(new, pool.map(_look, new), strict=True), 1):
            pictures[path] = picture
            if progress and len(new) > _FEW and (done % _FEW == 0 or done == len(new)):
                progress("pictures checked", done, len(new))
    if remember and new:
        _keep(
            remember,
            [
                (str(folder), str(path), *its_stamp, *astuple(picture)[1:])
                for path in new
                if isinstance(picture := pictures[path], Picture) and (its_stamp := stamps[path])
            ],
        )
    return [pictures[path] for path in paths]


def open_rgb(path: Path, draft: tuple[int, int] | None = None) -> Image.Image:
    """The picture as it is shown, RGB. Unreadable says why there is none.

    With `draft` a JPEG comes in a fraction of its size, quickly, but no smaller than that."""
    with warnings.catch_warnings(action="ignore"):  # of large pictures, transparent palettes, broken EXIF
        return _decode(_read(path), draft)[0]


def seen_pictures() -> Path:
    """The database of what is known of pictures; its number changes with what it holds."""
    return cache_folder() / "pictures-1.db"


def cache_folder() -> Path:
    """The user's cache folder for milair, or MILAIR_CACHE."""
    return Path(os.environ.get("MILAIR_CACHE") or user_cache_path("milair"))


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():  # to read a pipe is to wait for ever
            raise Unreadable("is a folder, a pipe or a device; it must be a file")
        return path.read_bytes()
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
            orientation = _turn(opened)
            deep = mode.startswith("I;16")  # Pillow would cut off at 255 what goes to 65535
            picture = Image.fromarray((np.asarray(opened) >> 8).astype(np.uint8)) if deep else opened
            return picture.convert("RGB"), (height, width) if orientation >= 5 else (width, height), mode, orientation
    except Unreadable:
        raise
    except Image.DecompressionBombError as error:
        raise Unreadable(f"is too large to decode safely ({first_line(error)})") from None
    except UnidentifiedImageError:
        raise Unreadable("is not a readable picture (of no kind that Pillow knows)") from None
    except Exception as error:  # decoders raise many kinds for broken files; each means the same to the reader
        raise Unreadable(f"is not a readable picture ({first_line(error)})") from None


def _turn(picture: Image.Image) -> int:
    """Turn a loaded picture upright, and return its orientation, 1 to 8: 1 as well where the EXIF is broken or says
    something else, as viewers take it, and of a TIFF, which is upright once it is loaded."""
    try:
        orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
        ImageOps.exif_transpose(picture, in_place=True)
    except Exception:  # parsers raise many kinds
        return 1
    return orientation if orientation in range(1, 9) else 1


def _look(path: Path) -> Picture | Unreadable:
    try:
        data = _read(path)
        # JPEGs at an eighth of their size where that suffices; all of the file is read
        picture, size, mode, orientation = _decode(data, (8 * LOOK, 8 * LOOK))
    except Unreadable as error:
        return error
    look = picture.resize((LOOK, LOOK), Image.Resampling.BOX).tobytes()
    return Picture(path, *size, mode, orientation, hashlib.sha256(data).digest(), look)


def stamp(path: Path) -> Stamp:
    """By which a file is seen to have changed; None if there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _recall(database: Path, folder: Path, stamps: Mapping[Path, Stamp]) -> dict[Path, Picture | Unreadable]:
    with suppress(sqlite3.Error), closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT * FROM pictures WHERE folder = ?", [str(folder)])
        return {path: Picture(path, *row[5:]) for row in rows if stamps.get(path := Path(row[1])) == row[2:5]}
    return {}


def _keep(database: Path, rows: Sequence[Sequence[object]]) -> None:
    """A database that cannot be written costs time at the next start, and nothing else."""
    with suppress(sqlite3.Error, OSError):
        database.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(database)) as connection, connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS pictures"
                " (folder, path PRIMARY KEY, size, mtime, ctime, width, height, mode, orientation, content, look)"
            )
            connection.executemany(f"INSERT OR REPLACE INTO pictures VALUES ({', '.join('?' * 11)})", rows)
