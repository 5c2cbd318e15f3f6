"""The notebook: it is what its script says, and runs from its first cell to its submission, at toy size."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import jupytext
import nbclient
import pytest
import tiny

from milair.frames import sample
from milair.frames.pictures import cache_folder

DOCS = Path(__file__).parent.parent / "docs"
TOY = {
    'DEVICES = "cuda:0,cuda:1"': 'DEVICES = "cpu,cpu"',
    'CHOICES = {"weights": "imagenet"}': 'CHOICES = {"weights": "random", "views": 4, "overrides": {"image_size": '
    '"64x48"}, "only": {"augmentations": ["4"]}}',
    "TRIALS = 40": "TRIALS = 2",
}


def test_the_notebook_is_its_script() -> None:
    """python -c "import jupytext; jupytext.write(jupytext.read('docs/kaggle.py'), 'docs/kaggle.ipynb')" makes it so."""
    script, notebook = (jupytext.read(DOCS / name) for name in ("kaggle.py", "kaggle.ipynb"))
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.cell_type, cell.source) for cell in script.cells
    ]
    assert not any(cell.get("outputs") for cell in notebook.cells)


@pytest.mark.timeout(600)
def test_it_runs_is_killed_and_goes_on(tmp_path: Path) -> None:
    notebook = jupytext.read(DOCS / "kaggle.ipynb")
    for cell in notebook.cells:
        for real, toy in TOY.items():
            cell["source"] = cell["source"].replace(real, toy)
    shutil.copytree(sample.write(cache_folder() / "tiny", labelled=24, unlabelled=2), tmp_path / "frames")
    tiny.spaces(tmp_path)
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [out["data"] for cell in notebook.cells for out in cell.get("outputs", []) if "data" in out]
    assert sum("image/png" in data for data in shown) == 2
    assert any("'complete': 1" in data["text/plain"] for data in shown)
    with (tmp_path / "submission.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 26
