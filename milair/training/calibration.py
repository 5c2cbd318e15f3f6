"""What a probability means: one temperature for a model, so that of frames called 80% about 80% are right.

Log-probabilities are divided by it (Guo et al. 2017, On Calibration of Modern Neural Networks): no class changes, only
how sure the model says it is. It is fitted on frames that the model was not trained on.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

Numbers = NDArray[np.float64]
LOWEST, HIGHEST = 0.25, 10.0  # where all frames are right, the likelihood would have it go to 0
_BINS = 10  # of probability, equally wide


@dataclass(frozen=True, slots=True)
class Calibration:
    """A temperature, and what it changes on the frames that it was fitted on: before, after."""

    temperature: float
    frames: int
    nll: tuple[float, float]  # mean negative log-likelihood of the true class
    ece: tuple[float, float]  # expected calibration error, 0 to 1

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def fit(log_probabilities: Numbers, labels: Sequence[int]) -> Calibration:
    """The temperature of the lowest NLL, from LOWEST to HIGHEST; of log-probabilities or logits [n, classes], n ≥ 1."""
    outputs, truth = np.maximum(log_probabilities.astype(np.float64), -1e4), np.array(labels)

    def cost(logarithm: float) -> float:
        return nll(outputs / np.exp(logarithm), truth)

    best = minimize_scalar(cost, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    temperature = round(float(np.exp(best.x)), 4) if best.fun < cost(0.0) else 1.0
    pair = outputs, outputs / temperature
    return Calibration(
        temperature,
        len(truth),
        (nll(pair[0], truth), nll(pair[1], truth)),
        (expected_calibration_error(pair[0], truth), expected_calibration_error(pair[1], truth)),
    )


def nll(logits: Numbers, labels: NDArray[np.intp]) -> float:
    """Mean negative log-likelihood of the true classes, of logits [n, classes]."""
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def expected_calibration_error(logits: Numbers, labels: NDArray[np.intp]) -> float:
    """How far the probability of the predicted class is from how often it is right, 0 to 1: the mean over ten bins of
    probability, weighed by their frames."""
    probabilities = np.exp(log_softmax(logits, axis=1))
    sure, right = probabilities.max(1), probabilities.argmax(1) == labels
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, right - sure, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(labels))
