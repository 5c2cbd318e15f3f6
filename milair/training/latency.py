"""Latency: how long a model takes to predict one frame."""

from statistics import median
from time import perf_counter

from PIL.Image import Image

from milair.model.detector import Model

_TIMES, _SECONDS = 9, 1.0  # at most so many measurements, in about so many seconds


def latency(model: Model, picture: Image) -> float:
    """Milliseconds from a picture that is upright and RGB to its class and box: the median, after a warm-up."""
    model.eval()
    times, end = list[float](), perf_counter() + _SECONDS
    while len(times) < 2 or (len(times) <= _TIMES and perf_counter() < end):
        start = perf_counter()
        _, boxes = model.detect([picture])
        boxes.cpu()  # a GPU is done only then
        times.append(perf_counter() - start)
    return median(times[1:]) * 1000
