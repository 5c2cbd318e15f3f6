"""A study that takes a second: few small frames, a small space, short epochs."""

import shutil
from pathlib import Path

import optuna

from milair.frames import sample
from milair.frames.pictures import cache_folder
from milair.study import storage

SPACE = '''"""How wide?"""
from dataclasses import replace
from milair import ConvHead, LinearHead, Recipe

SPLIT = "stratified"
BASELINE = Recipe(
    backbone="squeezenet1_1", weights="random", image_size="64x48", augmentations=2, epochs=5, batch_size=16,
    learning_rate=0.003, normalisation="data", cls_head=LinearHead("8"), reg_head=ConvHead(1, 16),
)

def space(trial):
    return replace(
        BASELINE,
        cls_head=LinearHead(trial.suggest_categorical("cls_head.widths", ["4", "8", "16", "8-8"])),
        alpha=trial.suggest_float("alpha", 0.5, 0.9),
    )
'''


def frames() -> Path:
    """A few frames of the built-in sample, drawn once a process."""
    return sample.write(cache_folder() / "tiny", labelled=24, unlabelled=2)


def make(folder: Path) -> list[str]:
    """Write frames and a space below `folder`; the options of a search there."""
    shutil.copytree(frames(), folder / "frames")
    (folder / "spaces").mkdir()
    (folder / "spaces" / "tiny.py").write_text(SPACE)
    return [
        *("--study", "tiny", "--data", str(folder / "frames"), "--spaces", str(folder / "spaces")),
        *("--studies", str(folder / "studies"), "--views", "2", "--devices", "cpu"),
    ]


def spaces(folder: Path) -> None:
    """milair's own spaces below `folder`, but for what takes minutes: a reference, dozens of epochs, large crops."""
    shutil.copytree(Path(__file__).parent.parent / "search_spaces", folder / "search_spaces")
    for name, real, toy in (
        ("beyond", "REFERENCES = [heads.BASELINE]", "assert heads.BASELINE"),
        ("beyond", '"epochs", [15, 25, 40]', '"epochs", [2]'),
        ("dense", "epochs=25", "epochs=2"),
        ("looks", "replace(DENSE, looks=2)", "replace(DENSE, looks=2, crop_size=64)"),
    ):
        file = folder / "search_spaces" / f"{name}.py"
        text = file.read_text()
        assert real in text
        file.write_text(text.replace(real, toy))


def load(folder: Path) -> optuna.Study:
    """The study of a search there."""
    return storage.load_study(storage.open_storage(storage.default_url(folder / "studies"), create=False), "tiny")


def search(options: list[str], *more: str) -> int:
    from milair.search import main

    return main([*options, *more])
