"""The temperature of a model: found again where it is known, and never worse on the frames that it was fitted on."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from milair.training.calibration import HIGHEST, LOWEST, expected_calibration_error, fit, nll


def drawn(frames: int, temperature: float) -> tuple[np.typing.NDArray[np.float64], list[int]]:
    """Logits that are too sure by a temperature, and labels drawn as often as their probabilities say."""
    random = np.random.default_rng(0)
    logits = random.normal(scale=2, size=(frames, 4))
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return logits * temperature, [int(random.choice(4, p=row)) for row in probabilities]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found_again(temperature: float) -> None:
    calibration = fit(*drawn(4000, temperature))
    assert calibration.temperature == pytest.approx(temperature, rel=0.05)
    assert calibration.frames == 4000
    assert calibration.ece[1] < 0.02
    assert calibration.nll[1] <= calibration.nll[0]
    if temperature != 1:
        assert calibration.ece[1] < calibration.ece[0] / 3


def test_the_likelihood_is_torchs() -> None:
    logits, labels = drawn(50, 1.0)
    expected = functional.cross_entropy(torch.from_numpy(logits), torch.tensor(labels)).item()
    assert nll(logits, np.array(labels)) == pytest.approx(expected)


def test_the_calibration_error_by_hand() -> None:
    """Two frames at 90%, one of them right, and two at 60%, both right: (2 * 0.4 + 2 * 0.4) / 4."""
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]])
    assert expected_calibration_error(np.log(probabilities), np.array([0, 1, 0, 1])) == pytest.approx(0.4)


@pytest.mark.parametrize("labels", [[0, 1], [1, 0]])
def test_two_frames_do_not_make_a_model_all_or_nothing_sure(labels: list[int]) -> None:
    """All right, or all wrong."""
    temperature = fit(np.log([[0.8, 0.2], [0.2, 0.8]]), labels).temperature
    assert temperature == pytest.approx(LOWEST if labels == [0, 1] else HIGHEST, rel=0.01)


def test_a_single_class_and_a_probability_of_nought_have_a_temperature() -> None:
    assert fit(np.zeros((3, 1)), [0, 0, 0]).temperature == 1
    with np.errstate(divide="ignore"):
        outputs = np.log(np.array([[1.0, 0.0], [1.0, 0.0], [0.9, 0.1]]))
    calibration = fit(outputs, [0, 1, 0])
    assert np.isfinite(calibration.nll).all()
    assert calibration.temperature == HIGHEST
