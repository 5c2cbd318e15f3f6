"""Ensembles: the mean of their members, one backbone pass for all that share it, and the same after a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from milair import DenseHead, Recipe
from milair.model import backbones
from milair.model.backbones import Backbone
from milair.model.cascade import mirrored
from milair.model.checkpoint import load, save
from milair.model.detector import Detector, Ensemble
from milair.model.heads import Heads, shapes
from milair.model.preprocessing import Preprocessing

CPU = torch.device("cpu")
HEAD = DenseHead(8, 1)
ONE = Recipe(backbone="squeezenet1_1", weights="random", image_size="64x48", cls_head=HEAD, reg_head=HEAD)
TWO = replace(ONE, looks=2, crop_size=48)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return backbones.build(ONE.feature_map)


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    noise = np.random.default_rng(0).integers(0, 256, (3, 60, 90, 3), dtype=np.uint8)
    return [Image.fromarray(pixels) for pixels in noise]


def detector(backbone: Backbone, seed: int, recipe: Recipe = ONE) -> Detector:
    torch.manual_seed(seed)
    looks = [Heads(recipe, shape, 3) for shape in shapes(recipe)]
    for heads in looks:
        for parameter in heads.parameters():
            parameter.data.add_(torch.randn_like(parameter) / 10)
    first, *second = looks
    return Detector(Preprocessing(recipe.size), backbone, first, recipe, "abc", *second).eval()


def passes(backbone: Backbone, model: Detector | Ensemble, pictures: Sequence[Image.Image]) -> int:
    """How many pictures went through the backbone."""
    seen: list[int] = []
    hook = backbone.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    model.detect(pictures)
    hook.remove()
    return sum(seen)


@pytest.mark.parametrize("recipe", [ONE, TWO])
def test_of_one_member_it_is_that_member(backbone: Backbone, pictures: list[Image.Image], recipe: Recipe) -> None:
    alone = detector(backbone, 1, recipe)
    for one, other in zip(Ensemble([alone]).detect(pictures), alone.detect(pictures), strict=True):
        assert torch.equal(one, other)


def test_probabilities_and_boxes_are_the_members_mean(backbone: Backbone, pictures: list[Image.Image]) -> None:
    members = [detector(backbone, seed) for seed in (1, 2, 3)]
    probabilities, boxes = Ensemble(members).detect(pictures)
    each = [member.detect(pictures) for member in members]
    assert torch.allclose(probabilities, torch.stack([one for one, _ in each]).mean(0))
    assert torch.allclose(boxes, torch.stack([box for _, box in each]).mean(0))
    assert torch.allclose(probabilities.sum(1), torch.ones(3))


def test_members_that_share_a_backbone_share_its_passes(backbone: Backbone, pictures: list[Image.Image]) -> None:
    for recipe, expected in ((ONE, 3), (TWO, 3 + 2 * 3)):  # two iterations
        members = [detector(backbone, seed, recipe) for seed in (1, 2, 3)]
        assert passes(backbone, members[0], pictures) == expected
        assert passes(backbone, Ensemble(members), pictures) == expected
    mixed = [detector(backbone, 1), detector(backbone, 2, TWO), detector(backbone, 3, replace(TWO, iterations=1))]
    assert passes(backbone, Ensemble(mixed), pictures) == 3 + 2 * 3
    others = [detector(backbone, 1), detector(backbone, 2, replace(ONE, image_size="80x60"))]
    assert passes(backbone, Ensemble(others), pictures) == 6


def test_a_mirrored_picture_has_the_mirrored_box_where_pictures_are_seen_mirrored_too(
    backbone: Backbone, pictures: list[Image.Image]
) -> None:
    model = Ensemble([detector(backbone, seed) for seed in (1, 2)], flip=True)
    turned = [ImageOps.mirror(picture) for picture in pictures]
    (one, box), (other, its_box) = model.detect(pictures), model.detect(turned)
    assert torch.allclose(one, other, atol=1e-5)
    assert torch.allclose(mirrored(box), its_box, atol=1e-4)
    plain = Ensemble(list(model))
    assert not torch.allclose(plain.detect(pictures)[0], plain.detect(turned)[0], atol=1e-3)
    assert torch.equal(plain.detect(pictures, flip=True)[1], box)


def test_a_checkpoint_gives_the_same_ensemble_and_holds_a_shared_backbone_once(
    backbone: Backbone, pictures: list[Image.Image], tmp_path: Path
) -> None:
    own = backbones.build(ONE.feature_map)
    members = [detector(backbone, 1), detector(backbone, 2, TWO), detector(own, 3)]
    model = Ensemble(members, flip=True)
    for name, some in (("all", model), ("two", Ensemble(members[:2])), ("one", members[0])):
        save(tmp_path / name, some, {"study": name})
    loaded = load(tmp_path / "all", CPU)
    assert isinstance(loaded, Ensemble)
    assert loaded.flip
    one, two, three = loaded
    assert one.backbone is two.backbone is not three.backbone
    assert passes(one.backbone, loaded, pictures) == passes(backbone, model, pictures)
    for value, expected in zip(loaded.detect(pictures), model.detect(pictures), strict=True):
        assert torch.equal(value, expected)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("one", "two", "all")]
    weights = 4 * sum(parameter.numel() for parameter in backbone.parameters())
    assert sizes[1] - sizes[0] < weights / 2
    assert sizes[2] - sizes[1] > weights
