"""Backbones: one contract for all of them, and weights that are loaded as data or not at all."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from milair import MilairError, backbones
from milair.backbones import build, fingerprint, load_state, measure

SIZE = 64, 48  # width, height
CONTRACT = {  # channels of the last map, and parameters without the classifier
    "squeezenet1_0": (512, 735_424),
    "squeezenet1_1": (512, 722_496),
    "mobilenet_v2": (1280, 2_223_872),
    "mobilenet_v3_small": (576, 927_008),
    "resnet18": (512, 11_176_512),
    "shufflenet_v2_x1_0": (1024, 1_253_604),
    "densenet121": (1024, 6_953_856),
    "swin_t": (768, 27_519_354),
    "convnext_tiny": (768, 27_818_592),
}


def pictures(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, SIZE[1], SIZE[0], generator=torch.Generator().manual_seed(0))


def refusal(name: str, source: str | Path) -> str:
    """The one line with which weights are refused."""
    with pytest.raises(MilairError) as refused:
        build(name, "grid", load_state(name, str(source)))
    line = str(refused.value)
    assert len(line.splitlines()) == 1
    return line


@pytest.mark.parametrize("name", CONTRACT)
def test_a_backbone_is_frozen_and_gives_the_map_that_is_measured(name: str) -> None:
    channels, parameters = CONTRACT[name]
    backbone = build(name, "grid")
    assert measure(name, "grid", SIZE) == ((channels, 7, 7), parameters)

    backbone.train()
    before = {key: buffer.clone() for key, buffer in backbone.named_buffers()}
    features = backbone(pictures())
    assert features.shape == (2, channels, 7, 7)
    assert not any(module.training for module in backbone.modules())
    assert not features.requires_grad
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert all(torch.equal(before[key], buffer) for key, buffer in backbone.named_buffers())
    assert features.isfinite().all()


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small", "resnet18", "alexnet"])
def test_own_pooling_is_measured_as_the_model_pools(name: str) -> None:
    size = (96, 64)
    features = build(name, "own")(torch.rand(1, 3, size[1], size[0]))
    assert measure(name, "own", size)[0] == features.shape[1:]
    own = getattr(torchvision.models.get_model(name, weights=None), "avgpool", None)
    side = 7 if own is None or name == "mobilenet_v2" else 6 if name == "alexnet" else 1
    assert features.shape[2:] == (side, side)


def test_a_7x7_grid_of_a_larger_picture() -> None:
    assert measure("squeezenet1_0", "grid", (400, 255)) == ((512, 7, 7), 735_424)


def test_features_do_not_depend_on_their_neighbours_in_the_batch() -> None:
    backbone = build("mobilenet_v3_small", "grid")
    assert torch.allclose(backbone(pictures(4))[:2], backbone(pictures(4)[:2]), atol=1e-6)


def test_densenets_map_is_what_its_classifier_reads() -> None:
    """torchvision applies a ReLU between DenseNet's `features` and its pooling."""
    assert build("densenet121", "grid")(pictures()).min() >= 0


@pytest.mark.parametrize("name", ["nonsense", "", "torch.nn", "fasterrcnn_resnet50_fpn", "SqueezeNet1_0", "googlenet"])
def test_an_unknown_backbone_is_refused(name: str) -> None:
    for refused in (
        lambda: build(name, "grid"),
        lambda: measure(name, "grid", SIZE),
        lambda: load_state(name, "imagenet"),
    ):
        with pytest.raises(MilairError, match=f"backbone '{name}' is not a torchvision classification model"):
            refused()


@pytest.mark.parametrize("name", ["vit_b_32", "maxvit_t"])
def test_a_model_without_a_map_is_refused(name: str) -> None:
    with pytest.raises(MilairError, match=name) as refused:
        measure(name, "grid", (64, 64))
    assert len(str(refused.value).splitlines()) == 1


def test_a_picture_too_small_for_a_backbone_is_refused() -> None:
    with pytest.raises(MilairError, match="backbone alexnet cannot take pictures of 32x32") as refused:
        measure("alexnet", "grid", (32, 32))
    assert len(str(refused.value).splitlines()) == 1


def test_random_weights_are_always_the_same_and_disturb_nobodys_random_numbers() -> None:
    torch.manual_seed(1)
    first = build("squeezenet1_1", "grid").state_dict()
    drawn = torch.rand(3)
    torch.manual_seed(2)
    second = build("squeezenet1_1", "grid").state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))


def test_weights_survive_a_file_and_a_folder(tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = torchvision.models.squeezenet1_1(weights=None)
    torch.save(model.state_dict(), tmp_path / "squeezenet1_1.pth")
    for source in (tmp_path, tmp_path / "squeezenet1_1.pth"):
        backbone = build("squeezenet1_1", "grid", load_state("squeezenet1_1", str(source)))
        with torch.no_grad():
            expected = nn.AdaptiveAvgPool2d(7)(model.eval().features(pictures()))
        assert torch.equal(backbone(pictures()), expected)


def test_no_weights_there(tmp_path: Path) -> None:
    for source, path in ((tmp_path, tmp_path / "resnet18.pth"), (tmp_path / "no.pth", tmp_path / "no.pth")):
        line = refusal("resnet18", source)
        assert line.startswith(f"{path}: no weights for resnet18 there")
        assert "--weights" in line
        assert "imagenet" in line


class Bomb:
    """A pickle that runs code when it is opened carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_code_in_a_file_of_weights_does_not_run(tmp_path: Path) -> None:
    bombs: tuple[Any, ...] = (Bomb(tmp_path / "ran"), {"features.0.weight": Bomb(tmp_path / "ran")})
    for bomb in bombs:
        torch.save(bomb, tmp_path / "a.pth")
        assert refusal("resnet18", tmp_path / "a.pth").startswith(f"{tmp_path / 'a.pth'}: not a file of weights")
        (tmp_path / "a.pth").write_bytes(pickle.dumps(bomb))
        assert refusal("resnet18", tmp_path / "a.pth").startswith(f"{tmp_path / 'a.pth'}: not a file of weights")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04", bytes(range(256))])
def test_a_broken_file_of_weights(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "resnet18.pth").write_bytes(content)
    assert refusal("resnet18", tmp_path).startswith(f"{tmp_path / 'resnet18.pth'}: not a file of weights")


def test_half_a_file_of_weights(tmp_path: Path) -> None:
    path = tmp_path / "squeezenet1_1.pth"
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), path)
    path.write_bytes(path.read_bytes()[:-1000])
    assert refusal("squeezenet1_1", path).startswith(f"{path}: not a file of weights")


def test_weights_of_another_model(tmp_path: Path) -> None:
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), tmp_path / "resnet18.pth")
    assert refusal("resnet18", tmp_path).startswith("these weights are not those of torchvision's resnet18")


@pytest.mark.parametrize(
    "content", [[1, 2], torch.zeros(3), 7, None, {"epoch": 3, "state_dict": {}}, {1: torch.zeros(1)}, {}, {"a": None}]
)
def test_a_file_that_holds_something_else(tmp_path: Path, content: Any) -> None:
    """Refused before its fingerprint is taken, for that is what a bank does first."""
    torch.save(content, tmp_path / "resnet18.pth")

    def open_it() -> None:
        state = load_state("resnet18", str(tmp_path))
        fingerprint(state)
        build("resnet18", "grid", state)

    with pytest.raises(MilairError) as refused:
        open_it()
    assert len(str(refused.value).splitlines()) == 1


def test_fingerprints_are_of_content(tmp_path: Path) -> None:
    state = torchvision.models.squeezenet1_1(weights=None).state_dict()
    marks = []
    for name, legacy in (("a.pth", False), ("b.pth", True)):
        torch.save(dict(reversed(state.items())), tmp_path / name, _use_new_zipfile_serialization=not legacy)
        marks.append(fingerprint(load_state("squeezenet1_1", str(tmp_path / name))))
    assert (tmp_path / "a.pth").read_bytes() != (tmp_path / "b.pth").read_bytes()
    assert marks == [fingerprint(state)] * 2
    key = next(iter(state))
    assert fingerprint(state | {key: state[key] + 1e-3}) != marks[0]
    assert fingerprint(None) == f"random-{backbones.RANDOM_SEED}"


def test_the_fingerprint_of_half_precision_weights_and_of_trainable_ones() -> None:
    weight = torch.rand(3, 2)
    assert len(fingerprint({"a": weight.bfloat16()})) == 16
    assert fingerprint({"a": nn.Parameter(weight)}) == fingerprint({"a": weight})


def test_without_a_cache_or_a_network_both_ways_out_are_said() -> None:
    line = refusal("resnet18", "imagenet")
    assert line.startswith("the ImageNet weights of resnet18 are neither in torchvision's cache nor to be downloaded")
    assert "--weights FILE|DIR" in line
    assert "--weights random" in line


@pytest.mark.parametrize("content", [b"", b"half a download"])
def test_a_broken_file_in_torchvisions_cache_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = torchvision.models.get_model_weights("resnet18")["DEFAULT"].url
    cached = tmp_path / "hub" / "checkpoints" / url.rpartition("/")[2]
    cached.parent.mkdir(parents=True)
    cached.write_bytes(content)
    line = refusal("resnet18", "imagenet")
    assert "resnet18" in line
    assert "--weights" in line


@pytest.mark.parametrize("name", ["squeezenet1_0", "squeezenet1_1", "mobilenet_v2"])
def test_real_weights_give_torchvisions_own_features(real_weights: Path, name: str) -> None:
    path = real_weights / f"{name}.pth"
    model = torchvision.models.get_model(name, weights=None).eval()
    model.load_state_dict(torch.load(path, weights_only=True))
    backbone = build(name, "grid", load_state(name, str(real_weights)))
    with torch.no_grad():
        expected = nn.AdaptiveAvgPool2d(7)(model.features(pictures()))
    assert torch.equal(backbone(pictures()), expected)
    assert fingerprint(load_state(name, str(path))) == fingerprint(model.state_dict())
