"""Latency: the median after a warm-up, in about a second however slow a model is."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest
import torch
from PIL import Image

from milair.model.cascade import Outputs
from milair.model.detector import Model
from milair.training.latency import latency

PICTURE = Image.new("RGB", (80, 60))


class Sleeper(Model):
    """Takes as many milliseconds as it is told, one after the other, and then the last."""

    def __init__(self, *milliseconds: float) -> None:
        super().__init__()
        self.times, self.seen = [*milliseconds], 0

    def detect(self, pictures: Sequence[Image.Image], flip: bool = False) -> Outputs:
        assert (len(pictures), flip, self.training) == (1, False, False)
        time.sleep((self.times.pop(0) if len(self.times) > 1 else self.times[0]) / 1000)
        self.seen += 1
        return torch.ones(1, 1), torch.zeros(1, 4)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sleep takes no time and moves the clock: a busy machine does not matter."""
    now = [0.0]
    monkeypatch.setattr("milair.training.latency.perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))


def test_it_is_the_median_without_the_first() -> None:
    model = Sleeper(500, 9, 1, 5, 3, 7, 2, 8, 4, 6, 99)
    assert latency(model, PICTURE) == pytest.approx(5)
    assert model.seen == 10


@pytest.mark.parametrize(("milliseconds", "times"), [(300, 4), (3000, 2)])
def test_a_slow_model_is_measured_less_often_and_once_at_least(milliseconds: float, times: int) -> None:
    model = Sleeper(milliseconds)
    assert latency(model, PICTURE) == pytest.approx(milliseconds)
    assert model.seen == times
