"""The document's text, where it is at hand: in `document/`, beside the folder of the competition's data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

NUMBER = r"\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?"  # 7,606,282 or 0.6422


def text(real_data: Path) -> str:
    found = sorted((real_data.resolve().parent.parent / "document").glob("*.txt"))
    if len(found) != 1:
        pytest.skip(f"the document's text is not at hand beside {real_data}")
    return found[0].read_text(encoding="utf-8")


def number(written: str) -> float:
    return float(written.replace(",", ""))


def numbers(written: str) -> set[float]:
    return {number(found) for found in re.findall(NUMBER, written)}
