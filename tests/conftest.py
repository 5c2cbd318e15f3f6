"""What all tests share: a cache of their own, one thread, real data and weights where there are some."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError

import forked
import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

from milair.frames.frame import Frame, Split
from milair.frames.pictures import look_at
from milair.workers import local

# A test may be slow on a busy machine, and leaves nothing in the working tree.
settings.register_profile("milair", deadline=None, database=None, max_examples=60)
settings.load_profile("milair")


@pytest.fixture(scope="session", autouse=True)
def _isolated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or fills the user's caches or downloads weights, and no number depends on the number of cores.

    Workers of searches in this process are forked; where it is tested how they begin, they begin as in a search."""

    def refuse(url: str, *_: object, **__: object) -> None:
        raise URLError(f"tests download nothing, not even {url}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MILAIR_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
        patch.setattr(torch.hub, "download_url_to_file", refuse)
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hub")))  # read when timm is first imported
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("OMP_NUM_THREADS", "1")
        torch.set_num_threads(1)
        patch.setattr(local, "_Process", forked.Process)
        yield


def _folder(variable: str, what: str) -> Path:
    folder = os.environ.get(variable)
    if not folder:
        pytest.skip(f"{variable} names no folder with {what}")
    return Path(folder)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The competition's folder."""
    return _folder("MILAIR_DATA", "the competition's frames")


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """A folder with ImageNet weights, `<backbone>.pth`."""
    return _folder("MILAIR_WEIGHTS", "ImageNet weights")


@pytest.fixture(scope="session")
def small_split(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """Ten training and four validation frames, of 80x60 noise, of classes "a" and "b"; no reading, no drawing."""
    folder = tmp_path_factory.mktemp("noise")
    frames = []
    for number in range(14):
        path = folder / f"{number}.png"
        noise = np.random.default_rng(number).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
        frames.append(Frame(look_at(path), "ab"[number % 2], (0.2, 0.25, 0.4 + 0.02 * number, 0.75)))
    return Split(tuple(frames[:10]), tuple(frames[10:]))


LONG = {"workers", "study", "test_readme", "test_notebook", "test_commands", "test_export", "test_backbones_contract"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files come first, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: LONG.isdisjoint((item.path.parent.name, item.path.stem)))
