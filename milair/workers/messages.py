"""What a search says to its workers: plain values, pickled. What they tell is in training/values.py."""

from dataclasses import dataclass

from milair.training.values import Inputs, Training


@dataclass(frozen=True, slots=True)
class Start:
    """To a worker, once."""

    inputs: Inputs
    device: str
    threads: int


@dataclass(frozen=True, slots=True)
class Check:
    """To a worker: say what a training needs, or what of it is not available."""

    training: Training


@dataclass(frozen=True, slots=True)
class Stop:
    """To a worker: end the training in hand."""
