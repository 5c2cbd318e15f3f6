"""Backbones: which there are, and weights that are loaded as data or not at all."""

from __future__ import annotations

import os
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from milair import MilairError
from milair.model import backbones, zoo
from milair.model.backbones import build, measure
from milair.model.zoo import fingerprint, load_state
from milair.recipe import FeatureMap

SIZE = 64, 48  # width, height


def pictures(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, SIZE[1], SIZE[0], generator=torch.Generator().manual_seed(0))


def refusal(name: str, source: str | Path) -> str:
    """The one line with which weights are refused."""
    with pytest.raises(MilairError) as refused:
        build(FeatureMap(name, "grid"), load_state(name, str(source)))
    line = str(refused.value)
    assert len(line.splitlines()) == 1
    return line


@pytest.mark.parametrize(("name", "own"), [("squeezenet1_1", 7), ("mobilenet_v2", 7), ("resnet18", 1)])
def test_a_backbone_pools_as_it_is_asked(name: str, own: int) -> None:
    for pooling, side in (("grid", 7), ("global", 1), ("own", own)):
        assert build(FeatureMap(name, pooling))(pictures(1)).shape[2:] == (side, side)


def test_a_7x7_grid_of_a_larger_picture() -> None:
    assert measure(FeatureMap("squeezenet1_0", "grid"), (400, 255)) == ((512, 7, 7), 735_424)


@pytest.mark.parametrize("pooling", ["grid", "own"])
def test_a_grid_is_columns_by_rows_and_full_is_the_map_itself(pooling: str) -> None:
    backbone = build(FeatureMap("squeezenet1_1", pooling, "full"))
    maps = backbone(pictures())
    assert torch.equal(maps, backbone.maps(pictures())[0])
    assert maps.shape[2:] == (2, 3)
    averaged = build(FeatureMap("squeezenet1_1", pooling, "3x1"))(pictures())
    assert torch.allclose(averaged, maps.mean(2, keepdim=True))


@pytest.mark.parametrize("name", ["nonsense", "", "torch.nn", "fasterrcnn_resnet50_fpn", "SqueezeNet1_0", "vit_b_32"])
def test_an_unknown_backbone_is_refused(name: str) -> None:
    for refused in (
        lambda: build(FeatureMap(name, "grid")),
        lambda: measure(FeatureMap(name, "grid"), SIZE),
        lambda: load_state(name, "imagenet"),
    ):
        with pytest.raises(MilairError, match=f"backbone '{name}' is not a torchvision classification model with a"):
            refused()


@pytest.mark.parametrize(
    ("name", "size"), [("alexnet", (32, 32)), ("inception_v3", (64, 64)), ("maxvit_t", (400, 255))]
)
def test_a_picture_of_a_size_that_a_backbone_cannot_take_is_refused(name: str, size: tuple[int, int]) -> None:
    with pytest.raises(MilairError, match=f"backbone {name} cannot take pictures of {size[0]}x{size[1]}: .") as refused:
        measure(FeatureMap(name, "grid"), size)
    assert len(str(refused.value).splitlines()) == 1


def test_a_model_that_ends_without_a_map_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one of a future torchvision may."""
    monkeypatch.setattr(backbones, "_END", ("head",))  # of a swin: after its pooling, and flattened
    with pytest.raises(MilairError, match=r"swin_s .* has no spatial map"):
        measure(FeatureMap("swin_s", "grid"), SIZE)


def test_timm_is_imported_only_when_asked_for_and_missed_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert measure(FeatureMap("squeezenet1_1", "grid", "3x2"), SIZE)[0] == (512, 2, 3)
    with pytest.raises(MilairError, match=re.escape("'timm:resnet18' needs timm: pip install 'milair[timm]'")):
        build(FeatureMap("timm:resnet18", "grid"))


def test_every_classifier_of_torchvision_but_the_vision_transformers_is_a_backbone() -> None:
    everything = set(torchvision.models.list_models(module=torchvision.models))
    without = {"vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14"}
    assert everything - set(zoo.names()) == without


def test_random_weights_are_always_the_same_and_disturb_nobodys_random_numbers() -> None:
    torch.manual_seed(1)
    first = build(FeatureMap("squeezenet1_1", "grid")).state_dict()
    drawn = torch.rand(3)
    torch.manual_seed(2)
    second = build(FeatureMap("squeezenet1_1", "grid")).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))


def test_weights_survive_a_file_and_a_folder(tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = torchvision.models.squeezenet1_1(weights=None)
    torch.save(model.state_dict(), tmp_path / "squeezenet1_1.pth")
    for source in (tmp_path, tmp_path / "squeezenet1_1.pth"):
        backbone = build(FeatureMap("squeezenet1_1", "grid"), load_state("squeezenet1_1", str(source)))
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
        build(FeatureMap("resnet18", "grid"), state)

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
    assert fingerprint(None) == f"random-{zoo.RANDOM_SEED}"


def test_the_fingerprint_of_half_precision_weights_and_of_trainable_ones() -> None:
    weight = torch.rand(3, 2)
    assert len(fingerprint({"a": weight.bfloat16()})) == 16
    assert fingerprint({"a": nn.Parameter(weight)}) == fingerprint({"a": weight})


def test_without_a_cache_or_a_network_both_ways_out_are_said() -> None:
    line = refusal("resnet18", "imagenet")
    assert line.startswith("the ImageNet weights of resnet18 are neither in torchvision's cache nor to be downloaded")
    assert "--weights FILE|DIR" in line
    assert "--weights random" in line


def cache(folder: Path, name: str) -> Path:
    """Where torchvision keeps a model's weights below TORCH_HOME."""
    url = torchvision.models.get_model_weights(name)["DEFAULT"].url
    path = folder / "hub" / "checkpoints" / Path(url).name
    path.parent.mkdir(parents=True)
    return path


@pytest.mark.parametrize("content", [b"", b"half a download"])
def test_a_broken_file_in_torchvisions_cache_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = cache(tmp_path, "resnet18")
    cached.write_bytes(content)
    line = refusal("resnet18", "imagenet")
    assert "resnet18" in line
    assert "--weights" in line


@pytest.mark.parametrize("name", ["squeezenet1_1", "mnasnet0_5"])
def test_weights_from_torchvisions_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """An MNASNet asks for the version that its file keeps beside the tensors."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    model = torchvision.models.get_model(name, weights=None).eval()
    torch.save(model.state_dict(), cache(tmp_path, name))
    backbone = build(FeatureMap(name, "grid"), load_state(name, "imagenet"))
    ours, theirs = backbone.parameters(), model.parameters()
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=False))


def test_an_mnasnet_without_its_version_is_refused() -> None:
    state = dict(torchvision.models.mnasnet0_5(weights=None).state_dict())
    with pytest.raises(MilairError, match=r"these weights are not those of torchvision's mnasnet0_5 .*version"):
        build(FeatureMap("mnasnet0_5", "grid"), state)


def test_a_densenets_weights_under_the_names_of_torchvisions_own_file() -> None:
    """They say norm.1 for norm1, and are older than BatchNorm's counters."""
    state = torchvision.models.densenet121(weights=None).state_dict()
    old = {
        re.sub(r"(denselayer\d+\.(norm|conv))([12])", r"\1.\3", key): value
        for key, value in state.items()
        if "num_batches_tracked" not in key
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    assert torch.equal(
        build(FeatureMap("densenet121", "grid"), old)(pictures()),
        build(FeatureMap("densenet121", "grid"), state)(pictures()),
    )


def test_an_inceptions_weights_with_and_without_its_side_exits() -> None:
    """torchvision's file has them; the model that it makes of it has not."""
    state = torchvision.models.googlenet(weights=None, init_weights=False).state_dict()
    without = {key: value for key, value in state.items() if not key.startswith("aux")}
    assert len(without) < len(state)
    one, other = (build(FeatureMap("googlenet", "grid"), weights).state_dict() for weights in (state, without))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_however_weights_lie_in_a_file_a_backbone_holds_them_as_a_new_layer_would() -> None:
    """Their order in memory decides in which order a convolution adds up, and so its last digits."""
    model = torchvision.models.squeezenet1_1(weights=None)
    plain = build(FeatureMap("squeezenet1_1", "grid"), model.state_dict())
    model.to(memory_format=torch.channels_last)
    model.double()
    strange = build(FeatureMap("squeezenet1_1", "grid"), model.state_dict())
    for one, other in zip(plain.parameters(), strange.parameters(), strict=True):
        assert torch.equal(one, other)
        assert one.stride() == other.stride()
        assert one.dtype == other.dtype == torch.float32


@pytest.mark.parametrize("name", ["squeezenet1_0", "squeezenet1_1", "mobilenet_v2"])
def test_the_fingerprint_of_a_file_is_that_of_its_model(real_weights: Path, name: str) -> None:
    path = real_weights / f"{name}.pth"
    model = torchvision.models.get_model(name, weights=None)
    model.load_state_dict(torch.load(path, weights_only=True))
    assert fingerprint(load_state(name, str(path))) == fingerprint(model.state_dict())
