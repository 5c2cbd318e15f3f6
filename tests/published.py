"""A small space with an earlier search's runs beside it, and claims made from them."""

from pathlib import Path

import torch
from tiny import make as make_tiny
from torchvision.models import get_model

SPACE = '''"""Which small recipe?"""
from dataclasses import replace
from pathlib import Path
from milair import ConvHead, LinearHead, Recipe
from milair.runs import read, read_claims

BASELINE = Recipe(
    backbone="squeezenet1_1", image_size="64x48", augmentations=2, epochs=3, batch_size=16, learning_rate=0.003,
    normalisation="data", cls_head=LinearHead("8"), reg_head=LinearHead("8"),
)
HERE = Path(__file__)
RUNS = [replace(run, recipe=replace(BASELINE, backbone=run.recipe.backbone, cls_head=run.recipe.cls_head,
        reg_head=run.recipe.reg_head)) for run in read(HERE.with_suffix(".csv"))]
CLAIMS = read_claims(HERE.with_name("claims.csv"), RUNS)

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
RUNS = """\
chapter,run,backbone,cls_head.type,cls_head.widths,cls_head.blocks,cls_head.filters,reg_head.type,reg_head.widths,\
reg_head.blocks,reg_head.filters,best_epoch,val_iou,val_accuracy,private_score,public_score,test_score,vram_gb,note
Backbones,One,squeezenet1_1,linear,8,,,linear,8,,,3,0.5,0.25,0.5,0.6,,,
Backbones,Other,squeezenet1_0,linear,8,,,linear,8,,,2,0.4,0.25,0.4,0.5,,,
Heads,Conv,squeezenet1_1,conv,,1,8,conv,,1,8,3,0.6,,,,0.61,1.5,"Its accuracy, | is not given."
Heads,One again,squeezenet1_1,linear,8,,,linear,8,,,3,0.5,0.25,0.5,0.6,,,The training of One.
"""
CLAIMS = """\
claim,chapter,run,than_chapter,than_run
One is the best,Backbones,One,Backbones,Other
Conv heads are better,Heads,Conv,Backbones,One
"""


def make(folder: Path) -> list[str]:
    """Write frames, the space and weights of one backbone below `folder`; the options of a search there."""
    options = make_tiny(folder)
    spaces, weights = folder / "spaces", folder / "weights"
    (spaces / "tiny.py").rename(spaces / "published.py")
    (spaces / "published.py").write_text(SPACE)
    (spaces / "published.csv").write_text(RUNS)
    (spaces / "claims.csv").write_text(CLAIMS)
    weights.mkdir()
    give_weights(folder, "squeezenet1_1")
    return ["published" if word == "tiny" else word for word in options] + ["--weights", str(weights)]


def give_weights(folder: Path, name: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.save(get_model(name).state_dict(), folder / "weights" / f"{name}.pth")
