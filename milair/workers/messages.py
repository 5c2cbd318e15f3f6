"""What a search says to its workers: plain values, pickled. What they tell is in training/values.py."""

from dataclasses import dataclass

from milair.recipe import Recipe
from milair.training.values import Inputs


@dataclass(frozen=True, slots=True)
class Start:
    """To a worker, once."""

    inputs: Inputs
    device: str
    threads: int


@dataclass(frozen=True, slots=True)
class Task:
    """To a worker: train this recipe, or say whether its backbone and weights are available."""

    recipe: Recipe
    check: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """To a worker: end the training in hand."""
