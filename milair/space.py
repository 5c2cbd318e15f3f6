"""A search space: a function from a trial to a Recipe, in a file of its own, loaded by its path.

The file has a docstring whose first line is its question, a `BASELINE` recipe, and `space(trial) -> Recipe`. It may
have `FIRST`, recipes that are trained before anything is drawn and never pruned, and `SECTIONS` for its report:
functions `(evidence, folder) -> Markdown`. It may import the files beside it (`from .heads import head`), and may be a
folder: `name/__init__.py` in place of `name.py`.
Parameters are named by their dotted path in the recipe's JSON. That is why a recipe can answer a space's
questions itself (`answers`), and no second description of a space is needed to queue a recipe.
"""

from __future__ import annotations

import importlib
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, cast

from milair.errors import MilairError, UsageError, first_line
from milair.recipe import Recipe

Value = str | int | float | bool | None
_PACKAGE = "search_spaces"  # what the folder of a space file is called while it is loaded
_QUIET = 64  # draws without a new parameter or choice that end an exploration


class Trial(Protocol):
    """What a space asks: the part of optuna.trial.BaseTrial that suggests."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...
    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...
    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...


@dataclass(frozen=True, slots=True)
class Space:
    name: str
    path: Path
    question: str
    baseline: Recipe
    function: Callable[[Trial], Recipe]
    first: Sequence[Recipe] = ()
    sections: Sequence[Callable[[Any, Path], str]] = ()
    only: Mapping[str, Sequence[str]] = field(default_factory=dict)  # see `narrowed`

    def __call__(self, trial: Trial) -> Recipe:
        return self.function(cast(Trial, _Narrowed(trial, self.only)) if self.only else trial)

    def _ask(self, trial: Trial) -> Recipe:
        try:
            return self(trial)
        except (MilairError, _Endless):
            raise
        except Exception as error:  # the function is the user's, as the file is
            raise MilairError(
                f"{self.path}: space(trial) failed ({type(error).__name__}: {first_line(error)})"
            ) from error

    def answers(self, recipe: Recipe, overrides: Mapping[str, str] | None = None) -> dict[str, Value]:
        """The parameters by which this space gives `recipe`, under overrides. MilairError if it cannot."""
        asked = _Answers(recipe)
        given = self._ask(asked).override(overrides or {})
        if differences := recipe.differences(given):
            listed = ", ".join(f"{name} {wanted} (but {got})" for name, wanted, got in differences)
            raise MilairError(f"{self.path}: the space cannot give {listed}")
        return asked.given

    def narrowed(self, only: Mapping[str, Sequence[str]]) -> Space:
        """This space with fewer choices: {"backbone": ["resnet18", "resnet50"]}. UsageError if it has no such ones.

        Where they leave out the baseline's, that takes the first of those that are left."""
        dimensions = self.dimensions()
        for name, kept in only.items():
            choices = dimensions.get(name, {}).get("choices")
            if choices is None:
                known = ", ".join(key for key, domain in dimensions.items() if "choices" in domain) or "none"
                raise UsageError(f"--only {name}: the space {self.name} has no such choice; its choices are {known}")
            for text in kept:
                if text not in map(str, choices):
                    raise UsageError(f"--only {name}={text}: the choices are {', '.join(map(str, choices))}")
        fewer = replace(self, only=only)
        return replace(fewer, baseline=fewer._ask(_Nearest(self.baseline))) if only else fewer

    def configurations(self, most: int = 10_000) -> list[dict[str, Value]] | None:
        """All that the space can give, as parameters; None if that is more than `most`, or without end."""
        found: list[dict[str, Value]] = []
        walk = _Walk()
        try:
            while len(found) < most:
                self._ask(walk)
                found.append(walk.given)
                if not walk.turn():
                    return found
        except _Endless:
            pass
        return None

    def dimensions(self) -> dict[str, dict[str, Any]]:
        """Every parameter with its choices or its range, found by asking until nothing new turns up."""
        explorer = _Explorer()
        quiet = 0
        while quiet < _QUIET:
            before = len(explorer.tried)
            self._ask(explorer)
            quiet = 0 if len(explorer.tried) > before else quiet + 1
        return dict(sorted(explorer.found.items()))


def load(name: str, folder: Path) -> Space:
    """The space of that name in `folder`, or in the file that `name` is the path of."""
    file, package = folder / f"{name}.py", folder / name / "__init__.py"
    path = Path(name) if name.endswith(".py") else package if package.is_file() else file
    if not path.is_file():
        files = [*folder.glob("*.py"), *(file.parent for file in folder.glob("*/__init__.py"))]
        known = ", ".join(sorted(file.stem for file in files)) or "none"
        raise MilairError(f"{path}: there is no such search space; in {folder} there are: {known}")
    try:
        module = _module(path)
    except Exception as error:  # the file is the user's: whatever it raises is a fault of that file
        raise MilairError(f"{path}: cannot be loaded ({type(error).__name__}: {error})") from error
    baseline, function = getattr(module, "BASELINE", None), getattr(module, "space", None)
    if not isinstance(baseline, Recipe) or not callable(function):
        raise MilairError(f"{path}: a search space has a BASELINE (a Recipe) and a function space(trial) -> Recipe")
    first, sections = getattr(module, "FIRST", ()), getattr(module, "SECTIONS", ())
    if not all(isinstance(recipe, Recipe) for recipe in first) or not all(map(callable, sections)):
        raise MilairError(f"{path}: FIRST holds recipes, SECTIONS functions (evidence, folder) -> Markdown")
    own_name = module.__name__.split(".")[1]
    question = (module.__doc__ or own_name).strip().splitlines()[0]
    return Space(own_name, path, question, baseline, function, first, sections)


def _module(path: Path) -> ModuleType:
    """A file, or a folder with an `__init__.py`, as a module of the package that its own folder is, afresh."""
    for name in [name for name in sys.modules if name.split(".")[0] == _PACKAGE]:
        del sys.modules[name]
    importlib.invalidate_caches()
    package = sys.modules[_PACKAGE] = ModuleType(_PACKAGE)
    place = path.parent if path.stem == "__init__" else path
    package.__path__ = [str(place.parent)]
    return importlib.import_module(f"{_PACKAGE}.{place.stem}")


def default_folder() -> Path:
    """`search_spaces/` of the working directory, else the one that came with milair."""
    here = Path("search_spaces")
    return here if here.is_dir() else Path(__file__).parent.parent / "search_spaces"


@dataclass(frozen=True, slots=True)
class _Narrowed:
    """A trial that leaves out some of the choices."""

    trial: Trial
    only: Mapping[str, Sequence[str]]

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        kept = self.only.get(name)
        return self.trial.suggest_categorical(name, [c for c in choices if kept is None or str(c) in kept])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.trial, name)


class _Answers:
    """A trial that suggests what a recipe says."""

    def __init__(self, recipe: Recipe) -> None:
        self.values = recipe.to_json()
        self.given: dict[str, Value] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._give(name, lambda value: value in choices, f"one of {list(choices)}")

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        del log
        return int(self._give(name, lambda v: low <= v <= high and (v - low) % step == 0, f"{low} to {high} by {step}"))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        del step, log
        return float(self._give(name, lambda value: low <= value <= high, f"from {low} to {high}"))

    def _give(self, name: str, fits: Callable[[Any], bool], rule: str) -> Any:
        value: Any = self.values
        for part in name.split("."):
            if not isinstance(value, dict) or part not in value:
                raise MilairError(f"parameter '{name}' is no dotted path in a recipe; the recipe here has no '{part}'")
            value = value[part]
        if not fits(value):
            raise MilairError(f"{name}={value!r} is not in the space; it must be {rule}")
        self.given[name] = value
        return value


class _Nearest:
    """A trial that suggests what a recipe says where that can be, else the first choice or the lowest number."""

    def __init__(self, recipe: Recipe) -> None:
        self.own = _Answers(recipe)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._else(choices[0], self.own.suggest_categorical, name, choices)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return int(self._else(low, partial(self.own.suggest_int, step=step, log=log), name, low, high))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self._else(low, partial(self.own.suggest_float, step=step, log=log), name, low, high))

    @staticmethod
    def _else(first: Any, ask: Callable[..., Any], *given: Any) -> Any:
        try:
            return ask(*given)
        except MilairError:
            return first


class _Endless(Exception):
    """A range that cannot be walked."""


class _Walk:
    """A trial that takes every path in turn, the last question's answers changing fastest."""

    def __init__(self) -> None:
        self.path: list[int] = []  # which answer to each question, of those on this path
        self.widths: list[int] = []
        self.given: dict[str, Value] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._take(name, choices)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        del log
        return int(self._take(name, range(low, high + 1, step)))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        del log
        if step is None:
            raise _Endless
        return float(self._take(name, [low + number * step for number in range(round((high - low) / step) + 1)]))

    def turn(self) -> bool:
        """On to the next path; False after the last."""
        while self.path and self.path[-1] + 1 == self.widths[-1]:
            self.path.pop()
            self.widths.pop()
        if not self.path:
            return False
        self.path[-1] += 1
        self.widths, self.given = [], {}
        return True

    def _take(self, name: str, choices: Sequence[Any]) -> Any:
        if name not in self.given:
            if len(self.widths) == len(self.path):
                self.path.append(0)
            self.given[name] = choices[self.path[len(self.widths)]]
            self.widths.append(len(choices))
        return self.given[name]


class _Explorer:
    """A trial that suggests what it has suggested least, and notes all that it is asked."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, Any]] = {}
        self.tried: Counter[tuple[str, Any]] = Counter()
        self.random = random.Random(0)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        self._note(name, {"choices": list(choices)})
        return self._least(name, choices)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        self._note(name, {"int": [low, high], "step": step, "log": log})
        return int(self._least(name, range(low, high + 1, step) if high - low < 64 * step else [low, high]))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        self._note(name, {"float": [low, high], "step": step, "log": log})
        return float(self._least(name, [low, high]))

    def _note(self, name: str, domain: dict[str, Any]) -> None:
        if self.found.setdefault(name, domain) != domain:
            raise MilairError(f"parameter '{name}' is suggested with two different ranges; a name has one")

    def _least(self, name: str, choices: Sequence[Any]) -> Any:
        fewest = min(self.tried[name, choice] for choice in choices)
        choice = self.random.choice([choice for choice in choices if self.tried[name, choice] == fewest])
        self.tried[name, choice] += 1
        return choice
