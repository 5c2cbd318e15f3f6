"""The walls between the rooms: imports go down only, and the light commands stay light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import milair

LAYERS = [
    {"errors", "recipe", "runs", "boxes"},
    {
        *("readers", "scan", "frames", "check", "duplicates", "split", "drawing", "sample"),
        *("augmentation", "pictures", "backbones", "heads", "layers", "bank", "quota"),
    },
    {"metrics", "train", "checkpoint"},
    {"space", "devices", "setup", "storage", "queue", "trial", "study"},
    {
        *("evidence", "noise", "plots", "page", "comparisons", "sections", "report"),
        "cli",
        "progress",
        "summary",
        "worker",
        "supervisor",
        "search",
        "retrain",
        "predict",
        "studies",
        "data",
        "__main__",
    },
]
HEAVY = ("torch", "torchvision", "optuna", "sqlalchemy", "pandas", "numpy", "sklearn")
FOLDER = Path(milair.__file__).parent
FILES = {".".join(path.relative_to(FOLDER).with_suffix("").parts): path for path in FOLDER.rglob("*.py")}
MODULES = sorted(set(FILES) - {"__init__"})


def layer(module: str) -> int:
    return next(number for number, names in enumerate(LAYERS) if module.split(".")[0] in names)


def imported(module: str) -> set[str]:
    """The milair modules and the other packages that a module imports, wherever in its text."""
    found = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "milair":
            found |= {f"milair.{name.name}" for name in node.names if name.name in {*MODULES, "readers"}}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
    return found


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_only(module: str) -> None:
    for name in imported(module):
        if name.startswith("milair."):
            assert layer(name.removeprefix("milair.")) <= layer(module), f"{module} imports {name}"


@pytest.mark.parametrize("module", [name for name in MODULES if layer(name) in (1, 2)])
def test_vision_and_training_have_never_heard_of_a_study(module: str) -> None:
    assert not any(name.split(".")[0] in {"optuna", "sqlalchemy"} for name in imported(module))


@pytest.mark.parametrize("module", sorted(LAYERS[0]))
def test_values_are_plain(module: str) -> None:
    assert not any(name.split(".")[0] in {"torch", "torchvision", "optuna", "numpy"} for name in imported(module))


@pytest.mark.parametrize("light", ["milair", "milair.space", "milair.search", "milair.retrain", "milair.__main__"])
def test_what_must_be_quick_imports_no_torch(light: str) -> None:
    code = f"import sys, {light}; print([name for name in {HEAVY} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_no_file_is_longer_than_400_lines() -> None:
    root = FOLDER.parent
    files = [*FILES.values(), *root.glob("search_spaces/*.py"), *root.glob("tests/*.py")]
    assert [path.name for path in files if len(path.read_text().splitlines()) > 400] == []
