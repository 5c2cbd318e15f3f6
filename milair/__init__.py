"""milair: declarative hyper-parameter search on Optuna for models that detect and classify one object in a picture."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from milair.api import load, objective
    from milair.errors import MilairError
    from milair.recipe import ConvHead, DenseHead, LinearHead, Recipe
    from milair.space import Trial
else:  # a type checker would take this for a module that has every name
    _HOMES = {
        **dict.fromkeys(("ConvHead", "DenseHead", "LinearHead", "Recipe"), "recipe"),
        **{"MilairError": "errors", "Trial": "space", "load": "api", "objective": "api"},
    }

    def __getattr__(name: str) -> object:
        """A public name, from its module when it is first used: `import milair` and `--help` load no library."""
        if name not in _HOMES:
            raise AttributeError(f"module 'milair' has no attribute '{name}'")
        return getattr(import_module(f"milair.{_HOMES[name]}"), name)


__all__ = ["ConvHead", "DenseHead", "LinearHead", "MilairError", "Recipe", "Trial", "__version__", "load", "objective"]
__version__ = "0.1.0"
