"""milair: declarative hyper-parameter search, on Optuna, for models that find and name the one object in a picture."""

from milair.errors import MilairError
from milair.recipe import ConvHead, LinearHead, Recipe

__all__ = ["ConvHead", "LinearHead", "MilairError", "Recipe"]
__version__ = "0.1.0"
