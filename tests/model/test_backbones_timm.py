"""timm's models as backbones: their own maps, weights as data or not at all, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from milair import LinearHead, MilairError, Recipe
from milair.model import backbones
from milair.model.backbones import build, measure
from milair.model.checkpoint import load, save
from milair.model.detector import Detector
from milair.model.heads import Heads
from milair.model.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from milair.model.zoo import file, fingerprint, load_state
from milair.recipe import FeatureMap

CPU = torch.device("cpu")
SIZE = 96, 64  # width, height
MODELS = ["resnet10t", "convnext_atto", "mobilenetv3_small_050", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"]


@pytest.fixture(scope="module")
def timm() -> Any:
    return pytest.importorskip("timm", reason="timm is not installed")


@pytest.fixture
def pictures() -> Tensor:
    return torch.randn(2, 3, SIZE[1], SIZE[0], generator=torch.Generator().manual_seed(0))


def drawn(timm: Any, name: str, **options: Any) -> Any:
    """timm's model, its weights those of `load_state`'s file."""
    torch.manual_seed(1)
    return timm.create_model(name, **options).eval()


def expected(timm: Any, name: str, pictures: Tensor) -> Tensor:
    """What timm's own head reads, before its pooling, as maps; pictures as timm normalises them."""
    options = {"dynamic_img_size": True} if name.startswith(("vit", "swin")) else {}
    model = drawn(timm, name, **options)
    if model.pretrained_cfg["mean"] != IMAGENET_MEAN:
        pixels = pictures * torch.tensor(IMAGENET_STD)[:, None, None] + torch.tensor(IMAGENET_MEAN)[:, None, None]
        pictures = (pixels - 0.5) / 0.5
    with torch.no_grad():
        if name.startswith("mobilenet"):  # its head begins with a convolution
            features: Tensor = model.blocks(model.bn1(model.conv_stem(pictures)))
            return features
        features = model.forward_features(pictures)
    if name.startswith("vit"):
        return features[:, 1:].mT.reshape(2, -1, SIZE[1] // 16, SIZE[0] // 16)
    return features.movedim(3, 1) if name.startswith("swin") else features


@pytest.mark.parametrize("name", MODELS)
def test_its_map_is_timms_own_frozen_and_as_measured(timm: Any, pictures: Tensor, name: str) -> None:
    state = drawn(timm, name).state_dict()
    backbone = build(FeatureMap(f"timm:{name}", "grid", "full"), state)
    backbone.train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    maps = backbone(pictures)
    torch.testing.assert_close(maps, expected(timm, name, pictures), rtol=1e-4, atol=1e-5)
    parameters = sum(parameter.numel() for parameter in backbone.parameters())
    for pooling, grid, cells in (("grid", "full", maps.shape[2:]), ("own", "4x3", (3, 4)), ("global", "full", (1, 1))):
        measured = measure(FeatureMap(f"timm:{name}", pooling, grid), SIZE)
        assert measured == ((maps.shape[1], *cells), parameters)


@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto"])
def test_two_stages_are_those_of_timms_feature_extractor(timm: Any, pictures: Tensor, name: str) -> None:
    backbone = build(FeatureMap(f"timm:{name}", "grid", "full", 2), drawn(timm, name).state_dict())
    with torch.no_grad():
        before, last = drawn(timm, name, features_only=True, out_indices=(-2, -1))(pictures)
    for ours, theirs in zip(backbone.maps(pictures), (last, before), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert backbone(pictures).shape[1:] == (last.shape[1] + before.shape[1], *last.shape[2:])


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("feature_map", "size", "said"),
    [
        (FeatureMap("timm:vit_tiny_patch16_224", "grid", stages=2), SIZE, "two stages need maps of two sizes"),
        (
            FeatureMap("timm:vit_tiny_patch16_224", "grid"),
            (400, 255),
            r"height \(255\) should be divisible by .* \(16\)",
        ),
        (FeatureMap("timm:mixer_s32_224", "grid"), SIZE, "height"),
        (FeatureMap("timm:nope", "grid"), SIZE, "'timm:nope' is not one of timm's models"),
        (FeatureMap("timm:resnet18.nope", "grid"), SIZE, "'timm:resnet18.nope' is not one of timm's models"),
        (FeatureMap("timm:hf-hub:timm/resnet18", "grid"), SIZE, "is not one of timm's models"),
        (FeatureMap("timm:", "grid"), SIZE, "'timm:' is not one of timm's models"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(feature_map: FeatureMap, size: tuple[int, int], said: str) -> None:
    with pytest.raises(MilairError, match=said) as refused:
        measure(feature_map, size)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.usefixtures("timm")
def test_random_weights_are_always_the_same_and_disturb_nobodys_random_numbers() -> None:
    before = torch.get_rng_state()
    first, second = (build(FeatureMap("timm:resnet10t", "grid")).state_dict() for _ in range(2))
    backbones.measure.cache_clear()
    measure(FeatureMap("timm:resnet10t", "grid"), SIZE)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_weights_from_a_folder_or_a_file(timm: Any, tmp_path: Path) -> None:
    name, state = "timm:resnet10t.c3_in1k", drawn(timm, "resnet10t").state_dict()
    assert file(name, str(tmp_path)) == tmp_path / "timm-resnet10t.c3_in1k.pth"
    torch.save(state, tmp_path / "timm-resnet10t.c3_in1k.pth")
    marks = [fingerprint(load_state(name, str(tmp_path)))]
    safetensors.torch.save_file(state, tmp_path / "timm-resnet10t.c3_in1k.safetensors")
    marks += [fingerprint(load_state(name, str(source))) for source in (tmp_path, file(name, str(tmp_path)))]
    assert marks == [fingerprint(state)] * 3
    with pytest.raises(MilairError, match="not those of timm's convnext_atto"):
        build(FeatureMap("timm:convnext_atto", "grid"), state)
    file(name, str(tmp_path)).write_bytes(b"half a file")
    with pytest.raises(MilairError, match="not a file of weights"):
        load_state(name, str(tmp_path))


def test_weights_from_timms_cache_or_both_ways_out(timm: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "timm:resnet10t.c3_in1k"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        MilairError, match=r"neither in timm's cache nor to be downloaded .* --weights random"
    ) as refused:
        load_state(name, "imagenet")
    assert "timm-resnet10t.c3_in1k.pth" in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    state, commit = drawn(timm, "resnet10t").state_dict(), "0" * 40
    cached = tmp_path / "models--timm--resnet10t.c3_in1k"
    for folder in ("refs", f"snapshots/{commit}"):
        (cached / folder).mkdir(parents=True)
    (cached / "refs/main").write_text(commit)
    safetensors.torch.save_file(state, cached / f"snapshots/{commit}/model.safetensors")
    assert fingerprint(load_state(name, "imagenet")) == fingerprint(state)


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(("name", "stages"), [("vit_tiny_patch16_224", 1), ("swin_tiny_patch4_window7_224", 2)])
def test_a_checkpoint_gives_the_same_model(tmp_path: Path, name: str, stages: int) -> None:
    recipe = Recipe(
        backbone=f"timm:{name}",
        weights="random",
        image_size="96x64",
        grid="3x2",
        stages=stages,
        cls_head=LinearHead("8"),
        reg_head=LinearHead("8"),
    )
    backbone = build(recipe.feature_map)
    for parameter in backbone.parameters():
        parameter.mul_(1.01)  # no longer those of weights="random"
    heads = Heads(recipe, measure(recipe.feature_map, recipe.size)[0], 3)
    original = Detector(Preprocessing(recipe.size), backbone, heads, recipe, "abc").eval()
    save(tmp_path, original, {})
    before = torch.get_rng_state()
    loaded = load(tmp_path, CPU)
    assert torch.equal(torch.get_rng_state(), before)
    pictures = torch.randint(0, 256, (2, 3, *reversed(SIZE)), dtype=torch.uint8)
    with torch.inference_mode():
        for one, other in zip(original(pictures), loaded(pictures), strict=True):
            assert torch.equal(one, other)
