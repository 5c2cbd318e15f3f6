"""A search space: a function from a trial to a Recipe, in a file of its own, loaded by its path.

The file has a docstring whose first line is its question, a `BASELINE` recipe, and `space(trial) -> Recipe`. It may
have `FIRST`, recipes of the space that are trained before anything is drawn; `REFERENCES`, recipes to compare with,
trained before those, whether the space can give them or not; `SPLIT`, how its studies split frames if nobody says;
and `SECTIONS`, functions `(evidence, folder) -> str` that give Markdown for its report. It may import the files beside
it (`from .heads import head`), and it may be a folder with an `__init__.py`.
Parameters are named by their dotted path in the recipe's JSON. That is why a recipe can answer a space's
questions itself (`answers`), and no second description of a space is needed to queue a recipe.
"""

import importlib
import random
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, Protocol, cast

from milair.errors import MilairError, UsageError, first_line
from milair.recipe import Recipe

Value = str | int | float | bool | None
_PACKAGE = "search_spaces"  # what the folder of a space file is called while it is loaded
_QUIET = 64  # draws without a new parameter or choice that end an exploration
_NEAR = 1e-8  # of a step: what Optuna forgives, as 0.1 is no binary number


class Trial(Protocol):
    """What a space asks: the part of optuna.trial.BaseTrial that suggests."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any: ...
    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...
    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...


@dataclass(frozen=True, slots=True)
class Domain:
    """What a parameter may be. Without a step a number may be any between its limits."""

    kind: Literal["choices", "int", "float"]
    limits: tuple[Any, ...]  # the choices, or the lowest and the highest number
    step: float | None = None
    log: bool = False

    def values(self, most: int) -> Sequence[Any] | None:
        """All choices, or all numbers in order: None if these have no end, or are more than `most`."""
        if self.kind == "choices":
            return self.limits
        low, high = self.limits
        last = int((high - low) / self.step + _NEAR) if self.step else most
        return (
            [min(low + number * self.step, high) for number in range(last + 1)] if self.step and last < most else None
        )

    def __contains__(self, value: Any) -> bool:
        if self.kind == "choices" or not isinstance(value, int | float):
            return self.kind == "choices" and value in self.limits
        low, high = self.limits
        steps = (value - low) / (self.step or 1)
        return bool(low <= value <= high and (self.step is None or abs(steps - round(steps)) < _NEAR))

    def __str__(self) -> str:
        numbers = f"from {self.limits[0]} to {self.limits[-1]}" + (f" by {self.step}" if self.step else "")
        return f"one of {list(self.limits)}" if self.kind == "choices" else numbers

    def to_json(self) -> dict[str, Any]:
        return {self.kind: list(self.limits)} | ({} if self.kind == "choices" else {"step": self.step, "log": self.log})


@dataclass(frozen=True, slots=True)
class Space:
    name: str
    path: Path
    question: str
    baseline: Recipe
    function: Callable[[Trial], Recipe]
    first: Sequence[Recipe] = ()  # trained before anything is drawn
    references: Sequence[Recipe] = ()  # trained before those, whether the space can give them or not
    sections: Sequence[Callable[..., str]] = ()  # of its report: (evidence, folder) -> Markdown
    split: str | None = None  # of frames; None: as `frames.split.default_kind` has it
    only: Mapping[str, Sequence[str]] = field(default_factory=dict)  # see `narrowed`

    def __call__(self, trial: Trial) -> Recipe:
        return self.function(cast(Trial, _Narrowed(trial, self.only)) if self.only else trial)

    def _ask(self, trial: Trial) -> Recipe:
        try:
            return self(trial)
        except MilairError:
            raise
        except Exception as error:  # the function is the user's, as the file is
            raise MilairError(
                f"{self.path}: space(trial) failed ({type(error).__name__}: {first_line(error)})"
            ) from error

    def answers(self, recipe: Recipe, overrides: Mapping[str, str] | None = None) -> dict[str, Value]:
        """The parameters by which this space gives `recipe`, under overrides. MilairError if it cannot."""
        values, parameters = recipe.by_path(), dict[str, Value]()

        def suggest(name: str, domain: Domain) -> Any:
            if name not in values:
                raise MilairError(
                    f"{self.path}: parameter '{name}' is no dotted path in a recipe, as alpha or cls_head.type are"
                )
            if values[name] not in domain:
                raise MilairError(
                    f"{self.path}: a recipe with {name}={values[name]!r} is not in the space; it must be {domain}"
                )
            parameters[name] = values[name]
            return values[name]

        if differences := recipe.differences(self._ask(_Player(suggest)).override(overrides or {})):
            listed = ", ".join(f"{name} {wanted} (but {got})" for name, wanted, got in differences)
            raise MilairError(f"{self.path}: the space cannot give {listed}")
        return parameters

    def narrowed(self, only: Mapping[str, Sequence[str]]) -> "Space":
        """This space with fewer choices: {"backbone": ["resnet18", "resnet50"]}. UsageError if it has no such ones.

        Where they leave out the baseline's value, it takes the first of those that are left; of numbers the lowest."""
        choices = {
            name: [*map(str, domain["choices"])] for name, domain in self.dimensions().items() if "choices" in domain
        }
        for name, texts in only.items():
            if name not in choices:
                raise UsageError(
                    f"--only {name}: the space {self.name} has no such choice; "
                    f"its choices are {', '.join(choices) or 'none'}"
                )
            if unknown := [text for text in texts if text not in choices[name]]:
                raise UsageError(f"--only {name}={unknown[0]}: the choices are {', '.join(choices[name])}")
        fewer, values = replace(self, only=only), self.baseline.by_path()
        nearest = _Player(lambda name, domain: v if (v := values.get(name)) in domain else domain.limits[0])
        return replace(fewer, baseline=fewer._ask(nearest)) if only else fewer

    def configurations(self, most: int = 10_000) -> list[dict[str, Value]] | None:
        """All that the space can give, as parameters; None if that is more than `most`, or without end.

        The last question's values change fastest. The space is asked once for each, `most` times at most."""
        configurations: list[dict[str, Value]] = []
        ahead: list[dict[str, Value]] = [{}]  # where paths branched off that are still to be walked

        def suggest(name: str, domain: Domain) -> Any:
            parameters = configurations[-1]
            if name not in parameters:
                values = domain.values(most) or [domain.limits[0]] * (most + 1)  # too many, as an endless one has
                ahead.extend({**parameters, name: value} for value in reversed(values[1:]))
                parameters[name] = values[0]
            return parameters[name]

        while ahead and len(configurations) + len(ahead) <= most:
            configurations.append(ahead.pop())
            self._ask(_Player(suggest))
        return None if ahead else configurations

    def dimensions(self) -> dict[str, dict[str, Any]]:
        """Every parameter's domain in JSON, found by asking for what was suggested least until nothing new turns up."""
        domains: dict[str, Domain] = {}
        tried, chance, quiet = Counter[tuple[str, Any]](), random.Random(0), 0

        def suggest(name: str, domain: Domain) -> Any:
            if domains.setdefault(name, domain) != domain:
                raise MilairError(f"parameter '{name}' is suggested with two different ranges; a name has one")
            values = domain.values(_QUIET) or domain.limits
            value = min(values, key=lambda value: (tried[name, value], chance.random()))
            tried[name, value] += 1
            return value

        while quiet < _QUIET:
            before = len(tried)
            self._ask(_Player(suggest))
            quiet = 0 if len(tried) > before else quiet + 1
        return {name: domain.to_json() for name, domain in sorted(domains.items())}


def names(folder: Path) -> list[str]:
    """The search spaces of a folder."""
    return sorted(
        {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    )


def load(name: str, folder: Path) -> Space:
    """The space of that name in `folder`, or in the file that `name` is the path of. MilairError names its fault."""
    path = Path(name) if name.endswith(".py") else folder / f"{name}.py"
    package = path.with_suffix("") / "__init__.py"
    if not path.is_file() and not package.is_file():
        raise MilairError(
            f"{path}: there is no such search space; in {folder} there are: {', '.join(names(folder)) or 'none'}; "
            "--spaces DIR names another folder"
        )
    path = path if path.is_file() else package
    home = path.parent if path.stem == "__init__" else path
    try:
        module = _module(home.stem, home.parent)
        first, references, sections = (tuple(getattr(module, n, ())) for n in ("FIRST", "REFERENCES", "SECTIONS"))
        space = Space(
            name=home.stem,
            path=path,
            question=(module.__doc__ or home.stem).strip().splitlines()[0],
            baseline=module.BASELINE,
            function=module.space,
            first=first,
            references=references,
            sections=sections,
            split=getattr(module, "SPLIT", None),
        )
    except Exception as error:  # the file is the user's: whatever it raises is a fault of that file
        raise MilairError(f"{path}: cannot be loaded ({type(error).__name__}: {first_line(error)})") from error
    recipes, functions = (space.baseline, *first, *references), (space.function, *sections)
    if not (all(isinstance(recipe, Recipe) for recipe in recipes) and all(map(callable, functions))):
        raise MilairError(
            f"{path}: BASELINE is a Recipe, space(trial) -> Recipe a function, FIRST and REFERENCES hold Recipes, "
            "SECTIONS functions"
        )
    return space


def _module(name: str, folder: Path) -> ModuleType:
    """A file or folder as a module of the package that `folder` is, afresh."""
    for loaded in [loaded for loaded in sys.modules if loaded.split(".")[0] == _PACKAGE]:
        del sys.modules[loaded]
    importlib.invalidate_caches()
    package = sys.modules[_PACKAGE] = ModuleType(_PACKAGE)
    package.__path__ = [str(folder.resolve())]
    return importlib.import_module(f"{_PACKAGE}.{name}")


def default_folder() -> Path:
    """`search_spaces/` of the working directory, else the one that came with milair."""
    here = Path("search_spaces")
    return here if here.is_dir() else Path(__file__).parent.parent / "search_spaces"


@dataclass(frozen=True, slots=True)
class _Narrowed:
    """A real trial, asked for fewer choices."""

    trial: Trial
    only: Mapping[str, Sequence[str]]

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        left = self.only.get(name)
        return self.trial.suggest_categorical(name, [c for c in choices if left is None or str(c) in left])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.trial, name)


@dataclass(frozen=True, slots=True)
class _Player:
    """A trial without a study: a function says what it suggests for a parameter's name and domain."""

    suggest: Callable[[str, Domain], Any]

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self.suggest(name, Domain("choices", tuple(choices)))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return int(self.suggest(name, Domain("int", (low, high), step, log)))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self.suggest(name, Domain("float", (low, high), step, log)))
