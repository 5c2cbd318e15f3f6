"""The wheel: what is in it, a search by it alone, and its types as another program sees them."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from milair.frames import sample
from milair.frames.pictures import cache_folder

ROOT = Path(__file__).parent.parent
PROGRAM = '''"""What a program outside of the repository does with milair."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, assert_type

import optuna

import milair
from milair import Recipe, Trial, api
from milair.model.detector import Detector, Ensemble, Prediction


def space(trial: Trial) -> Recipe:
    return Recipe(alpha=trial.suggest_float("alpha", 0.5, 0.9))


model = milair.load(Path("studies/models/heads@frames-0"), device="cpu")
assert_type(model, Detector | Ensemble)
assert_type(api.predict(model, ["a.png"]), Iterator[Prediction])
for prediction in model.predict(["a.png"]):
    assert_type(prediction.label, str)
    assert_type(prediction.probability, float)
    assert_type(prediction.path, Path | None)
    left: int = prediction.box[0]
    right: str = prediction.box[2]  # type: ignore[assignment]
    print(prediction.name)  # type: ignore[attr-defined]
result = api.search("heads", data="frames", trials=3, devices="cpu")
assert_type(result.study, optuna.Study)
assert_type(result.summary, dict[str, Any])
optuna.create_study(direction="maximize").optimize(milair.objective("heads", data="frames"), n_trials=1)
milair.load(3)  # type: ignore[arg-type]
api.search("heads", trials="3")  # type: ignore[arg-type]
'''


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network from a copy of the tree in which weights and a study lie about."""
    tree = tmp_path_factory.mktemp("tree")
    for name in ("milair", "search_spaces", "tests"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, tree)
    for name in ("milair/model/resnet18.pth", "search_spaces/heads.safetensors", "milair/milair.db"):
        (tree / name).write_bytes(b"0")
    words = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tree / "dist"), str(tree)]
    built = subprocess.run(words, capture_output=True, text=True)
    assert built.returncode == 0, built.stdout + built.stderr
    return next((tree / "dist").glob("milair-*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment into which pip puts the wheel; what milair needs comes from the environment of these tests.

    A line in a .pth adds that folder to the path, and reads no .pth in it: not an editable milair."""
    folder = tmp_path_factory.mktemp("fresh") / "venv"
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    paths = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})
    Path(paths["purelib"], "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    words = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*words, "--ignore-installed", "--disable-pip-version-check", str(wheel)], check=True)
    return python


def outside(*words: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command in a folder that knows nothing of the repository."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_wheel_holds_the_package_and_its_spaces_and_nothing_else(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    suffixes = {".py", ".csv", ".typed"}
    files = (path for room in ("milair", "search_spaces") for path in (ROOT / room).rglob("*"))
    assert names == {path.relative_to(ROOT).as_posix() for path in files if path.suffix in suffixes}
    assert {"milair/py.typed", "search_spaces/document/runs.csv", "search_spaces/document/claims.csv"} <= names
    info = {name.partition(".dist-info/")[2] for name in zipfile.ZipFile(wheel).namelist()} - {""}
    assert info == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}


def test_a_search_by_the_wheel_alone(python: Path, tmp_path: Path) -> None:
    milair = python.with_name("milair")
    where = outside(python, "-c", "import milair; print(milair.__file__)", folder=tmp_path)
    assert Path(where.stdout).is_relative_to(python.parent.parent), where
    frames = shutil.copytree(sample.write(cache_folder() / "tiny", labelled=24, unlabelled=2), tmp_path / "frames")
    words = ["search", "--study", "heads", "--trials", "1", "--data", str(frames), "--weights", "random"]
    words += ["--epochs", "1", "--views", "2", "--set", "image_size=64x48", "--set", "augmentations=2"]
    words += ["--set", "backbone=squeezenet1_1", "--split", "stratified"]
    search = outside(milair, *words, folder=tmp_path)
    assert search.returncode == 0, search.stderr
    assert "heads@frames: 1 complete" in search.stdout
    words = ["search", "--study", "document", "--dry-run", "--data", str(frames), "--weights", "random"]
    document = outside(milair, *words, folder=tmp_path)
    assert document.returncode == 0, document.stderr  # its space reads its CSV


def test_a_strict_checker_sees_the_types_of_the_wheel(python: Path, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    others = ",".join(f"{name}.*" for name in ("torch", "torchvision", "scipy", "numpy", "sqlalchemy", "PIL", "rich"))
    (tmp_path / "mypy.ini").write_text(f"[mypy]\nstrict = true\n[mypy-{others}]\nfollow_imports = skip\n")
    words = [sys.executable, "-m", "mypy", "--python-executable", str(python), "program.py"]
    checked = outside(*words, folder=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr
