"""milair's types are seen from outside: a strict checker on a program that only imports it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import milair

CONFIG = """[mypy]
strict = true
[mypy-milair.*]
follow_imports = silent
[mypy-torch.*,torchvision.*,optuna.*,numpy.*,PIL.*,pydantic.*,rich.*,sqlalchemy.*,scipy.*,pandas.*,sklearn.*]
follow_imports = skip
"""  # to check torch takes a minute and shows nothing of milair
PROGRAM = """from milair import load

for prediction in load("model").predict(["a.jpeg"], flip=True):
    print(prediction.label.upper(), round(prediction.probability, 2), prediction.path)
    {line}
"""


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("left: int = prediction.box[0]", ""),
        ("left: str = prediction.box[0]", 'expression has type "int", variable has type "str"'),
        ("print(prediction.name)", '"Prediction" has no attribute "name"'),
    ],
)
def test_a_strict_checker_knows_what_a_model_predicts(tmp_path: Path, line: str, says: str) -> None:
    (tmp_path / "mypy.ini").write_text(CONFIG)
    (tmp_path / "program.py").write_text(PROGRAM.format(line=line))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "program.py"],
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": str(Path(milair.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == bool(says), done.stdout + done.stderr
    assert says in done.stdout
    assert (Path(milair.__file__).parent / "py.typed").exists()
