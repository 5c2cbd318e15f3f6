"""The quota of banks: the least recently used go, those that are being computed stay."""

import os
from pathlib import Path

import pytest

from milair.errors import OutsideError
from milair.features import quota


def bank(folder: Path, name: str, size: int, used: int) -> Path:
    place = folder / (name * 24)
    place.mkdir()
    (place / "features.f32").write_bytes(b"x" * size)
    os.utime(place, (used, used))
    return place


def test_banks_are_in_the_order_of_their_use(tmp_path: Path) -> None:
    old, new = bank(tmp_path, "a", 10, used=100), bank(tmp_path, "b", 10, used=50)
    assert quota.banks(tmp_path) == [new, old]
    quota.used(new)
    assert quota.banks(tmp_path) == [old, new]
    assert quota.banks(tmp_path / "none") == []
    (tmp_path / "holidays").mkdir()
    assert quota.banks(tmp_path) == [old, new]


def test_the_least_recently_used_make_room(tmp_path: Path) -> None:
    places = [bank(tmp_path, name, 400, used) for name, used in (("a", 3), ("b", 1), ("c", 2))]
    mine = bank(tmp_path, "d", 0, used=0)
    quota.make_room(mine, 500, quota=1500e-9)
    assert [place.exists() for place in places] == [True, False, True]
    quota.make_room(mine, 1500, quota=1500e-9)
    assert quota.banks(tmp_path) == [mine]


def test_a_bank_that_is_being_computed_stays(tmp_path: Path) -> None:
    place = bank(tmp_path, "a", 400, used=1)
    with quota.lock(place):
        assert quota.remove(place) == 0
        assert place.exists()
    assert quota.remove(place) == 400
    assert quota.remove(place) == 0


def test_what_can_never_fit_is_said(tmp_path: Path) -> None:
    mine = bank(tmp_path, "d", 0, used=0)
    with pytest.raises(OutsideError, match=r"--bank-quota 2: a bank of 3\.0 GB does not fit"):
        quota.make_room(mine, 3 * 10**9, quota=2)
    with pytest.raises(OutsideError, match=r"MB of features do not fit, .* MB are free; --bank DIR"):
        quota.make_room(mine, 10**18, quota=10**12)
