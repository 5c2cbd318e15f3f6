"""The walls between the rooms: imports go down only, and the light commands stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import milair
from milair.__main__ import COMMANDS

ROOMS = ["values", "frames", "model", "features", "training", "study", "beside", "commands"]  # a room imports downwards
BESIDE = {"workers", "reporting", "console"}  # and these three not each other
VALUES = {"boxes", "errors", "recipe", "space"}  # files without a folder, as the commands are
HEAVY = ("torch", "torchvision", "optuna", "sqlalchemy", "pandas", "numpy", "sklearn", "scipy")
HEAVY_TO_HELP = (*HEAVY, "pydantic", "rich")
FOLDER = Path(milair.__file__).parent
FILES = {".".join(path.relative_to(FOLDER).with_suffix("").parts): path for path in FOLDER.rglob("*.py")}
MODULES = sorted(name for name in FILES if not name.endswith("__init__"))


def room(module: str) -> str:
    first = module.split(".")[0]
    return first if first in {*ROOMS, *BESIDE} else "values" if first in VALUES else "commands"


def may_import(mine: str, other: str) -> bool:
    floors = [ROOMS.index("beside" if name in BESIDE else name) for name in (mine, other)]
    return mine == other or floors[0] > floors[1]


def imported(module: str) -> set[str]:
    """The milair modules and the other packages that a module imports, wherever in its text."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{name.name}" for name in node.names}
    return found


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_only(module: str) -> None:
    for name in imported(module):
        if name.startswith("milair.") and name.split(".")[1] not in milair.__all__ and "__" not in name:
            assert may_import(room(module), room(name.removeprefix("milair."))), f"{module} imports {name}"


@pytest.mark.parametrize(
    "module", [name for name in MODULES if room(name) in {"frames", "model", "features", "training"}]
)
def test_vision_and_training_have_never_heard_of_a_study(module: str) -> None:
    assert not any(name.split(".")[0] in {"optuna", "sqlalchemy"} for name in imported(module))


@pytest.mark.parametrize("module", sorted(VALUES))
def test_values_are_plain(module: str) -> None:
    assert not any(name.split(".")[0] in {"torch", "torchvision", "optuna", "numpy"} for name in imported(module))


@pytest.mark.parametrize("light", ["milair", "milair.space"])
def test_what_space_files_need_imports_no_torch(light: str) -> None:
    assert heavy_modules(light, HEAVY) == "[]"


@pytest.mark.parametrize("command", ["__main__", *COMMANDS])
def test_help_imports_nothing_heavy(command: str) -> None:
    assert heavy_modules(f"milair.{command}", HEAVY_TO_HELP) == "[]"


def heavy_modules(module: str, names: tuple[str, ...]) -> str:
    code = f"import sys, {module}; print([name for name in {names} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()


def test_the_public_list_is_imported_when_it_is_first_used() -> None:
    code = "import sys, milair; print(milair.__version__, [name for name in sys.modules if name.startswith('milair.')])"
    code += "; print('pydantic' in sys.modules, milair.Recipe(), 'pydantic' in sys.modules, milair.Trial.__module__)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.splitlines()
    assert said[0] == f"{milair.__version__} []"
    assert said[1] == f"False {milair.Recipe()} True milair.space"


def test_another_name_than_a_public_one_is_refused() -> None:
    with pytest.raises(AttributeError, match="module 'milair' has no attribute 'Recipes'"):
        milair.Recipes  # type: ignore[attr-defined]  # noqa: B018


def test_no_file_is_longer_than_400_lines() -> None:
    root = FOLDER.parent
    files = [*FILES.values(), *root.glob("search_spaces/*.py"), *root.glob("tests/*.py")]
    assert [path.name for path in files if len(path.read_text().splitlines()) > 400] == []
