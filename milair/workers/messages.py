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
class Check:
    """To a worker: say whether the backbone and the weights of a recipe are available."""

    recipe: Recipe


@dataclass(frozen=True, slots=True)
class Stop:
    """To a worker: end the training in hand."""
