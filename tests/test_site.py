"""The documentation as a site: it builds, every page has its place, the reference has what the docstrings say."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    for name in ("docs", "milair"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "submissions"))
    shutil.copy(ROOT / "mkdocs.yml", folder)
    build = [str(Path(sys.executable).with_name("zensical")), "build", "--strict"]
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    return folder / "site"


def test_every_page_has_its_place(site: Path) -> None:
    places = [page for entry in yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"] for page in entry.values()]
    assert sorted(places) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))
    assert all((site / page).with_suffix(".html").is_file() for page in places)


def test_the_reference_is_made_of_docstrings(site: Path) -> None:
    text = (site / "reference.html").read_text()
    for name in ("milair.api.search", "milair.api.retrain", "milair.recipe.Recipe", "milair.model.detector.Prediction"):
        assert f'id="{name}"' in text
    assert "in whole pixels of the picture" in text


def test_links_between_pages_lead_somewhere(site: Path) -> None:
    for page in site.glob("*.html"):
        for link in re.findall(r'href="([^":#?]+\.html)[#"]', page.read_text()):
            if not link.startswith("/"):
                assert (page.parent / link).is_file(), f"{page.name}: {link}"
