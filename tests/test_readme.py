"""What the README and docs/ show is run: each page's commands and code, in their order, in a folder of its own.

`python -m milair.X` is the main of milair.X in this process, as importing torch fifteen times takes minutes. The folder
has the search spaces and a folder of frames, and the built-in sample is smaller. Searches are shortened (SHORTER) and
take random weights, as there may be no network; nothing else is changed.
"""

import contextlib
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import tiny

from milair import space
from milair.__main__ import COMMANDS
from milair.__main__ import main as milair
from milair.frames import sample
from milair.frames.pictures import cache_folder

ROOT = Path(__file__).parent.parent
PAGES = [
    "README.md",
    *(
        f"docs/{name}.md"
        for name in (
            "backbones",
            "beyond",
            "cluster",
            "document",
            "export",
            "extend",
            "formats",
            "tutorial",
            "house",
            "models",
            "spaces",
            "studies",
        )
    ),
]
SHORTER = "--trials 1 --epochs 1 --views 2 --set image_size=64x48 --set augmentations=2"
NARROWER = {  # a space that varies what others set, or has heads that take long
    "heads": SHORTER + " --only cls_head.type=linear --only reg_head.type=linear",
    "document": "--trials 1 --epochs 1 --views 2 "
    "--only image_size=350x205 --only augmentations=2 --only backbone=squeezenet1_0",
}
NARROWER["joint"] = NARROWER["document"]
NARROWER["beyond"] = "--trials 1 --views 4 --set image_size=64x48 --only augmentations=4"
NARROWER["pieces"] = "--trials 1 --views 12 --set image_size=64x48"
SHOWN_SPACES = ("search_spaces/blocks.py", "search_spaces/depth.py", "search_spaces/own.py")
SHORTER_CODE = {
    'weights="imagenet"': 'weights="random", views=2, '
    'overrides={"epochs": "1", "image_size": "64x48", "augmentations": "2"}',
    "trials=6": "trials=1",
}


@pytest.fixture(scope="module", autouse=True)
def _sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A smaller one, and a cache folder that the pages share: one of them cleans it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MILAIR_CACHE", str(tmp_path_factory.mktemp("pages")))
        patch.setattr(sample, "write", partial(sample.write, labelled=24, unlabelled=2))
        yield


def text(page: str) -> str:
    return (ROOT / page).read_text()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    tiny.spaces(tmp_path)
    if "data sample frames" not in text(page):
        shutil.copytree(sample.write(cache_folder() / "sample-2"), "frames")
    file = ""
    for before, language, block in re.findall(r"(.*?)^```(\w*)\n(.*?)^```", text(page), re.DOTALL | re.M):
        file = [file, *re.findall(r"search_spaces/\w+\.py", before)][-1]
        if language == "console":
            for command in re.findall(r"^\$ (.*)", block, re.M):
                assert runs(command), f"{command}\n{capsys.readouterr()}"
        elif language == "python" and "def space(" in block:
            Path(file).write_text(block)
            chosen = space.load(file, Path())
            asked, varied = chosen.answers(chosen.baseline).keys(), chosen.dimensions().keys()
            assert asked < varied if "    if " in block else asked == varied  # of a condition it goes one way
        elif language == "python":
            for shown, shorter in SHORTER_CODE.items():
                block = block.replace(shown, shorter)
            exec(block, {})
    if "--draw drawn" in text(page):
        assert len(Path("predictions.csv").read_text().splitlines()) == 1 + len(list(Path("drawn").iterdir()))


def runs(command: str) -> bool:
    program, *words = shlex.split(command.replace("--weights imagenet", "--weights random"))
    if program == "optuna-dashboard":
        return opens_in_the_dashboard(words)
    option, module, *words = words
    if module == "milair.dashboard":  # serves until it is interrupted
        return opens_in_the_dashboard(words, ("-m", module))
    assert (program, option, module.split(".")[0]) == ("python", "-m", "milair")
    if module == "milair.search" and "--dry-run" not in words:
        words += NARROWER.get(words[words.index("--study") + 1], SHORTER).split()
    return milair([module.removeprefix("milair."), *words]) == 0


def opens_in_the_dashboard(words: list[str], module: tuple[str, ...] = ()) -> bool:
    """The real dashboard, or ours, asked over HTTP for the study and its trials."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = [sys.executable, *module] if module else [str(Path(sys.executable).with_name("optuna-dashboard"))]
    server = subprocess.Popen([*program, *words, "--port", str(port)], stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=5) as page,
            ):
                return "dense@sample" in page.read().decode()
            assert server.poll() is None
            time.sleep(0.1)
        return False
    finally:
        server.terminate()
        server.wait(timeout=20)


def test_the_readme_shows_every_command() -> None:
    assert all(f"python -m milair.{command}" in text("README.md") for command in COMMANDS)


def test_the_tree_of_the_house_names_every_file() -> None:
    """And no other."""
    tree = re.search(r"^```\n(milair/.*?)^```", text("docs/house.md"), re.DOTALL | re.M)
    assert tree is not None
    named, folders = set(), list[str]()
    for line in tree[1].splitlines():
        place = re.match(r"( *)(\S+)", line)
        assert place is not None
        folders[len(place[1]) // 2 :] = [place[2]]
        named.add("".join(folders))
    files = {
        path for room in ("milair", "search_spaces") for path in (ROOT / room).rglob("*.py") if path.stat().st_size
    }
    assert {path.relative_to(ROOT).as_posix() for path in files} == {
        name for name in named if name.endswith(".py") and name.startswith(("milair/", "search_spaces/"))
    }
    assert all((ROOT / name).exists() for name in named)


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md"])
def test_files_that_a_page_names_are_there(page: str) -> None:
    links = re.findall(r"\]\((?!http)([^)#]*)", text(page))
    assert all((ROOT / page).parent.joinpath(link).exists() for link in links), links
    named = re.findall(r"`((?:milair|search_spaces|tests|benchmarks)/[\w/.]*)`", text(page))
    assert [name for name in named if not (ROOT / name).exists() and name not in SHOWN_SPACES] == []


@pytest.mark.parametrize("target", ["search", "test"])
def test_the_two_commands_are_targets_that_set_themselves_up(tmp_path: Path, target: str) -> None:
    (tmp_path / "pyproject.toml").touch()
    planned = subprocess.run(
        ["make", "--dry-run", "-f", str(ROOT / "Makefile"), target], cwd=tmp_path, capture_output=True, text=True
    ).stdout
    assert planned.index("-m venv .venv") < planned.index("pip install")
    wanted = "-m milair.search --study dense" if target == "search" else "-m pytest"
    assert planned.index("pip install") < planned.index(wanted)
