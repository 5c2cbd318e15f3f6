"""Near-duplicates: frames that look alike, as neighbours in a video do, found by small pictures of them.

Two frames are alike if their 8x8 colour pictures correlate by ALIKE or more, which no two of different classes among
the 189 real frames do. Frames that a chain of likeness joins are one group.
"""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from milair.frames.frame import Frame, Split

ALIKE = 0.97
_BLOCK = 1024  # frames compared with all others at a time: memory grows with the frames, not with their square


def pairs(frames: Sequence[Frame]) -> np.typing.NDArray[np.intp]:
    """Pairs [n, 2] of places in `frames`, the first below the second, whose pictures are alike."""
    looks = np.stack([np.frombuffer(frame.picture.look, np.uint8) for frame in frames]).astype(np.float32)
    looks -= looks.mean(axis=1, keepdims=True)
    looks /= np.maximum(np.linalg.norm(looks, axis=1, keepdims=True), 1e-6)
    blocks = []
    for start in range(0, len(looks), _BLOCK):
        first, second = np.nonzero(looks[start : start + _BLOCK] @ looks[start:].T >= ALIKE)
        blocks.append(np.stack([first, second], axis=1)[first < second] + start)
    return np.concatenate(blocks)


def groups(frames: Sequence[Frame]) -> list[int]:
    """The group of each frame, numbered from 0 as they come; most are alone in theirs."""
    first, second = pairs(frames).T
    alike = coo_array((np.ones(len(first), bool), (first, second)), shape=(len(frames), len(frames)))
    return list(connected_components(alike, directed=False)[1].tolist())


def across(split: Split) -> int:
    """How many validation frames have a near-duplicate among the training frames."""
    first, second = pairs((*split.train, *split.val)).T
    held = len(split.train)
    return len(np.unique(second[(first < held) & (second >= held)]))
