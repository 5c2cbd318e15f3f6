"""Near-duplicates: frames that look alike, as neighbours in a video do, found by small pictures of them.

Two frames are alike if their 8x8 colour pictures correlate by ALIKE or more, which no two of different classes among
the 189 real frames do. Frames that a chain of likeness joins are one group.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from milair.frames import pictures as scan
from milair.frames.frame import Split

ALIKE = 0.97
_BLOCK = 1024  # frames compared with all others at a time: memory grows with the frames, not with their square


def pairs(paths: Sequence[Path]) -> NDArray[np.intp]:
    """Pairs [n, 2] of places in `paths`, the first below the second, of pictures that are alike."""
    looks = np.stack([np.frombuffer(scan.scan(path).look, np.uint8) for path in paths]).astype(np.float32)
    looks -= looks.mean(axis=1, keepdims=True)
    looks /= np.maximum(np.linalg.norm(looks, axis=1, keepdims=True), 1e-6)
    found = []
    for start in range(0, len(looks), _BLOCK):
        first, second = np.nonzero(looks[start : start + _BLOCK] @ looks[start:].T >= ALIKE)
        found.append(np.stack([first, second], axis=1)[first < second] + start)
    return np.concatenate(found)


def groups(paths: Sequence[Path]) -> list[int]:
    """The group of each picture, numbered from 0 as they come; most are alone in theirs."""
    group = list(range(len(paths)))

    def root(member: int) -> int:
        while group[member] != member:
            group[member] = member = group[group[member]]
        return member

    for first, second in pairs(paths).tolist():
        low, high = sorted((root(first), root(second)))
        group[high] = low
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(member), len(numbers)) for member in range(len(group))]


def across(split: Split) -> int:
    """How many frames to judge by have a near-duplicate among those to learn from."""
    frames = (*split.train, *split.val)
    held = len(split.train)
    return len({second for first, second in pairs([frame.path for frame in frames]).tolist() if first < held <= second})
