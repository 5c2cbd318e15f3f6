"""A small space, a folder, with recipes that are trained first and a section of its own in the report."""

from pathlib import Path

import torch
from tiny import make as make_tiny
from torchvision.models import get_model

SPACE = '''"""Which small recipe?"""
from dataclasses import replace
from milair import ConvHead, LinearHead, Recipe
from .sections import count, nothing

BASELINE = Recipe(
    backbone="squeezenet1_1", image_size="64x48", augmentations=2, epochs=3, batch_size=16, learning_rate=0.003,
    normalisation="data", cls_head=LinearHead("8"), reg_head=LinearHead("8"),
)
FIRST = [
    BASELINE,
    replace(BASELINE, backbone="squeezenet1_0"),
    replace(BASELINE, cls_head=ConvHead(1, 8), reg_head=ConvHead(1, 8)),
]
SECTIONS = [count, nothing]

def space(trial):
    def head(name):
        if trial.suggest_categorical(f"{name}.type", ["linear", "conv"]) == "linear":
            return LinearHead(trial.suggest_categorical(f"{name}.widths", ["4", "8"]))
        return ConvHead(1, trial.suggest_categorical(f"{name}.filters", [4, 8]))

    return replace(
        BASELINE, backbone=trial.suggest_categorical("backbone", ["squeezenet1_1", "squeezenet1_0", "resnet18"]),
        cls_head=head("cls_head"), reg_head=head("reg_head"),
    )
'''
SECTIONS = """
def count(evidence, folder):
    (folder / "count.svg").write_text("<svg/>")
    return f"## Of its own\\n\\n{len(evidence.trials)} recipes\\n\\n![a picture](count.svg)"

def nothing(evidence, folder):
    return ""
"""


def make(folder: Path) -> list[str]:
    """Write frames, the space and weights of one backbone below `folder`; the options of a search there."""
    options = make_tiny(folder)
    space, weights = folder / "spaces" / "first", folder / "weights"
    (folder / "spaces" / "tiny.py").unlink()
    space.mkdir()
    (space / "__init__.py").write_text(SPACE)
    (space / "sections.py").write_text(SECTIONS)
    weights.mkdir()
    give_weights(folder, "squeezenet1_1")
    return ["first" if word == "tiny" else word for word in options] + ["--weights", str(weights)]


def give_weights(folder: Path, name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(get_model(name).state_dict(), folder / "weights" / f"{name}.pth")
