"""milair's types are seen from outside: a strict checker on a program that only imports it."""

import os
import subprocess
import sys
from pathlib import Path

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
    left: int = prediction.box[0]
    right: str = prediction.box[2]
    print(prediction.name)
"""


def test_a_strict_checker_knows_what_a_model_predicts(tmp_path: Path) -> None:
    """Both mistakes in the program are found, and nothing else."""
    (tmp_path / "mypy.ini").write_text(CONFIG)
    (tmp_path / "program.py").write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "program.py"],
        cwd=tmp_path,
        env=os.environ | {"MYPYPATH": str(Path(milair.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert len(errors) == 2, done.stdout + done.stderr
    assert errors[0].startswith('program.py:6: error: Incompatible types in assignment (expression has type "int"')
    assert errors[1].startswith('program.py:7: error: "Prediction" has no attribute "name"')
    assert (Path(milair.__file__).parent / "py.typed").exists()
