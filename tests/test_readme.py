"""What the README shows is run: its commands in their order in one folder, and its code.

`python -m milair.X` is the main of milair.X in this process, as importing torch fifteen times takes minutes. Searches
are shortened (SHORTER) and take random weights where there is no network; nothing else is changed.
"""

import re
import shlex
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import optuna
import pytest

from milair import space
from milair.__main__ import COMMANDS
from milair.__main__ import main as milair

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
SHORTER = "--trials 1 --epochs 1"
SHORTER_ON_FRAMES = "--trials 1 --epochs 1 --views 6 --set image_size=64x48"
ONE_OF_THE_DOCUMENT = (
    "--epochs 1 --views 2 --only image_size=350x205 --only augmentations=2 --only backbone=squeezenet1_0"
)
CODE = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def shown_commands() -> list[str]:
    return [
        line
        for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
        for line in re.findall(r"^\$ (.*)", block, re.M)
    ]


def test_its_notebook_cell_runs() -> None:
    """Before the commands, which search the same features and `clean` them away."""
    cell: dict[str, optuna.Study] = {}
    exec(CODE[1], cell)
    assert len(cell["study"].trials) == 2
    assert cell["study"].best_value > 0


@pytest.mark.timeout(900)
def test_its_commands_run_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in shown_commands():
        if command.startswith("optuna-dashboard"):
            opens_in_the_dashboard(command)
            continue
        python, _, module, *words = shlex.split(command.replace("--weights imagenet", "--weights random"))
        assert (python, module.split(".")[0]) == ("python", "milair")
        if module == "milair.search" and "--dry-run" not in words:
            short = ONE_OF_THE_DOCUMENT if "document" in words else SHORTER_ON_FRAMES if "--data" in words else SHORTER
            words += short.split()
        status = milair([module.removeprefix("milair."), *words])
        assert status == 0, f"{command}\n{capsys.readouterr()}"
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 1 + len(list((tmp_path / "drawn").iterdir()))


def opens_in_the_dashboard(command: str) -> None:
    """The real dashboard, asked over HTTP for the study and its trials."""
    program, *words = shlex.split(command)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [Path(sys.executable).with_name(program), *words, "--port", str(port)], stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=5) as answer:
                    listed = answer.read().decode()
                break
            except OSError:
                assert server.poll() is None
                time.sleep(0.1)
        assert "heads@sample" in listed
    finally:
        server.terminate()
        server.wait(timeout=20)


def test_its_space_is_a_space(tmp_path: Path) -> None:
    (tmp_path / "alpha.py").write_text(CODE[0])
    chosen = space.load("alpha", tmp_path)
    assert list(chosen.dimensions()) == ["alpha"]
    assert chosen.answers(chosen.baseline) == {"alpha": 0.7}


def test_it_shows_every_command_and_every_file() -> None:
    assert all(f"python -m milair.{command}" in README for command in COMMANDS)
    tree = README.split("## What is where")[1]
    for path in [*ROOT.glob("milair/*.py"), *ROOT.glob("search_spaces/*.py")]:
        assert path.stem.startswith("__") or re.search(rf"^  {path.name} ", tree, re.M), path.name


def test_its_pictures_are_there() -> None:
    assert all((ROOT / name).is_file() for name in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README))


@pytest.mark.parametrize("target", ["search", "test"])
def test_the_two_commands_are_targets_that_set_themselves_up(tmp_path: Path, target: str) -> None:
    (tmp_path / "pyproject.toml").touch()
    planned = subprocess.run(
        ["make", "--dry-run", "-f", str(ROOT / "Makefile"), target], cwd=tmp_path, capture_output=True, text=True
    ).stdout
    assert planned.index("-m venv .venv") < planned.index("pip install")
    wanted = "-m milair.search --study heads" if target == "search" else "-m pytest"
    assert planned.index("pip install") < planned.index(wanted)
