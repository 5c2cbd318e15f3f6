"""docs/extend.md: its changes fit the code as it is, are short, and train."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from tiny import make

from milair.study import storage
from milair.study.kept import trained

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "extend.md").read_text()
SPACE = '''"""With pieces of our own?"""
from dataclasses import replace
from milair import Recipe
from milair.recipe import MeanHead

BASELINE = Recipe(
    backbone="small", weights="random", image_size="64x48", grid="4x3", augmentations=2, epochs=2, batch_size=16,
    cls_head=MeanHead(), reg_head=MeanHead(dropout=0.1),
)

def space(trial):
    return replace(BASELINE, cls_head=MeanHead(trial.suggest_float("cls_head.dropout", 0.0, 0.5)))
'''


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.M)


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """milair with all changes of the page."""
    folder = tmp_path_factory.mktemp("changed")
    for name in ("milair", "search_spaces"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for change in blocks("diff"):
        subprocess.run(["git", "apply", "--unidiff-zero", "-"], cwd=folder, input=change, text=True, check=True)
    return folder


def test_each_change_is_under_thirty_lines() -> None:
    assert len(blocks("diff")) == 4
    for change in blocks("diff"):
        assert len(re.findall(r"^\+(?!\+\+)", change, re.M)) < 30


def test_a_head_a_backbone_a_format_and_a_pruner_of_ones_own_train(changed: Path, tmp_path: Path) -> None:
    options = make(tmp_path)
    (tmp_path / "spaces" / "tiny.py").write_text(SPACE)
    frames = tmp_path / "frames"
    header, *rows = (frames / "train.csv").read_text().splitlines()
    assert header == "filename,class,xmin,ymin,xmax,ymax"
    (frames / "labels.txt").write_text("\n".join(row.replace(",", " ") for row in rows))
    (frames / "train.csv").unlink()
    words = [sys.executable, "-m", "milair.search", *options, "--trials", "2", "--pruner", "quarter"]
    search = subprocess.run(
        [*words, "--bank", str(tmp_path / "bank")],
        env=os.environ | {"PYTHONPATH": str(changed)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert search.returncode == 0, search.stderr
    assert "labels.txt" in search.stdout
    study = optuna.load_study(study_name="tiny@frames", storage=storage.default_url(tmp_path / "studies"))
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE"]
    assert trained(study.trials[0])["cls_head"]["type"] == "mean"
