"""The room that banks take on disk: a quota, and the least recently used ones making room for new ones."""

import os
import re
import shutil
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from milair.errors import OutsideError

_BANK = re.compile("[0-9a-f]{24}")  # the name of a bank's folder


def banks(folder: Path) -> list[Path]:
    """The banks of a folder, the least recently used first; what else lies there is not ours."""
    places = [place for place in folder.iterdir() if _BANK.fullmatch(place.name)] if folder.is_dir() else []
    return sorted(places, key=lambda place: place.stat().st_mtime)


def used(place: Path) -> None:
    """Note that a bank was used just now."""
    os.utime(place)


def size(place: Path) -> int:
    """Bytes of a bank, 0 of one that another process deletes."""
    with suppress(FileNotFoundError):
        return sum(file.stat().st_size for file in place.iterdir())
    return 0


def remove(place: Path) -> int:
    """Delete a bank that nobody computes just now; the bytes freed. Who reads it keeps what it has open."""
    with suppress(Timeout, FileNotFoundError), lock(place).acquire(timeout=0):
        freed = size(place)
        shutil.rmtree(place)
        return freed
    return 0


def lock(place: Path) -> FileLock:
    """Held by who computes, opens or deletes a bank; it goes with its process, however that ends."""
    return FileLock(place.with_suffix(".lock"))


def make_room(place: Path, needed: int, quota: float) -> None:
    """Room for `needed` more bytes in a bank: others go if the quota (GB) says so. OutsideError if there is none."""
    folder, total = place.parent, size(place) + needed
    if total > quota * 1e9:
        raise OutsideError(f"--bank-quota {quota:g}: a bank of {total / 1e9:.1f} GB does not fit")
    others = [other for other in banks(folder) if other != place]
    total += sum(size(other) for other in others)
    for other in others:
        if total > quota * 1e9:
            total -= remove(other)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise OutsideError(
            f"{folder}: {needed / 1e6:.0f} MB of features do not fit, {free / 1e6:.0f} MB are free; "
            "--bank DIR puts them elsewhere"
        )
