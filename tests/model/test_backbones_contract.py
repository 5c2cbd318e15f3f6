"""One contract for every backbone: torchvision's own map, frozen, as measured, and a head trains on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from milair import ConvHead, LinearHead, Recipe
from milair.boxes import to_shares
from milair.features.bank import open_bank
from milair.frames import sample
from milair.frames.frame import Frame, Split
from milair.frames.pictures import look_at
from milair.model.backbones import Backbone, build, measure
from milair.model.heads import Heads
from milair.model.preprocessing import Preprocessing
from milair.model.zoo import load_state
from milair.recipe import FeatureMap
from milair.training.train import new_heads, seeded, train

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Known:
    """Channels and cells of the last map of pictures of `size` (width, height), parameters without the classifier, and
    the layer whose output is the last larger map."""

    channels: int
    parameters: int
    before: str
    cells: tuple[int, int] = (3, 4)  # rows, columns
    size: tuple[int, int] = (128, 96)
    options: dict[str, bool] = field(default_factory=dict)  # of the torchvision model as its weights want it


DOCUMENT = {
    "vgg16": Known(512, 14_714_688, "features.29"),
    "vgg19": Known(512, 20_024_384, "features.35"),
    "efficientnet_v2_s": Known(1280, 20_177_488, "features.5"),
    "efficientnet_v2_m": Known(1280, 52_858_356, "features.5"),
    "mobilenet_v2": Known(1280, 2_223_872, "features.13"),
    "mobilenet_v3_small": Known(576, 927_008, "features.8"),
    "squeezenet1_0": Known(512, 735_424, "features.10", cells=(5, 7)),
    "squeezenet1_1": Known(512, 722_496, "features.7", cells=(5, 7)),
    "swin_b": Known(1024, 86_743_224, "features.5"),
}
INCEPTION = {"init_weights": False, "transform_input": True}
CONTRACT = DOCUMENT | {  # and one of every other family that torchvision has
    "alexnet": Known(256, 2_469_696, "features.11", cells=(2, 3)),
    "convnext_tiny": Known(768, 27_818_592, "features.6.0"),
    "densenet121": Known(1024, 6_953_856, "features.transition3.conv"),
    "efficientnet_b0": Known(1280, 4_007_548, "features.5"),
    "googlenet": Known(1024, 5_599_904, "inception4e", options=INCEPTION),
    "inception_v3": Known(2048, 21_785_568, "Mixed_6e", (3, 5), (224, 160), INCEPTION),
    "maxvit_t": Known(512, 30_143_944, "blocks.2", (7, 7), (224, 224)),  # it takes no other pictures
    "mnasnet0_5": Known(1280, 937_512, "layers.11"),
    "regnet_y_400mf": Known(440, 3_903_144, "trunk_output.block3"),
    "resnet18": Known(512, 11_176_512, "layer3"),
    "shufflenet_v2_x0_5": Known(1024, 341_792, "stage3"),
    "swin_v2_t": Known(768, 27_582_570, "features.5"),
}
TIMM = ["timm:resnet10t", "timm:convnext_atto", "timm:vit_tiny_patch16_224"]  # more: test_backbones_timm.py
FLAT = ("squeezenet", "convnext", "maxvit")  # their classifiers flatten by themselves


@dataclass(frozen=True)
class Case:
    name: str
    known: Known
    model: nn.Module  # torchvision's
    backbone: Backbone  # of the same weights
    pictures: Tensor  # noise; the same with a spot at its top right; and with one at its bottom left
    plain: Tensor  # their maps as the weights were drawn
    maps: Tensor  # and, where those fade, with BatchNorm statistics to match, as in a trained model


@pytest.fixture(scope="module", params=CONTRACT)
def case(request: pytest.FixtureRequest) -> Case:
    """A torchvision model, and its backbone."""
    name, known = request.param, CONTRACT[request.param]
    width, height = known.size
    rows, columns = known.cells
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, **known.options).eval()
    pictures = torch.randn(1, 3, height, width).repeat(3, 1, 1, 1)
    pictures[1, :, : height // rows, -(width // columns) :] += 2
    pictures[2, :, -(height // rows) :, : width // columns] += 2
    backbone = build(FeatureMap(name, "grid"), model.state_dict())
    plain = maps = backbone.maps(pictures)[0]
    if plain.std() < 1e-3:  # faded, so that hardly anything could be asserted of it
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        for norm in norms:
            norm.train().momentum = 1.0
        with torch.no_grad():
            model(pictures)
        backbone = build(FeatureMap(name, "grid"), model.eval().state_dict())
        maps = backbone.maps(pictures)[0]
    return Case(name, known, model, backbone, pictures, plain, maps)


def own_logits(name: str, model: nn.Module, maps: Tensor) -> Tensor:
    """What the model's own classifier makes of its backbone's maps, pooled as a backbone pools."""
    if not name.startswith("squeezenet"):  # which pools after its classifier
        maps = getattr(model, "avgpool", nn.AdaptiveAvgPool2d(1))(maps)
    classifier = next(getattr(model, part) for part in ("classifier", "fc", "head") if hasattr(model, part))
    logits: Tensor = classifier(maps if name.startswith(FLAT) else maps.flatten(1))
    return logits.flatten(1)


def test_its_own_classifier_makes_torchvisions_logits_of_its_map(case: Case) -> None:
    """So the map is torchvision's own: no layer, no function in `forward` and no axis was lost on the way."""
    with torch.no_grad():
        expected = case.model(case.pictures)
        assert torch.equal(own_logits(case.name, case.model, case.maps), expected)
    assert expected.std() > 1e-6


def test_its_map_is_pooled_and_measured(case: Case) -> None:
    own = getattr(case.model, "avgpool", nn.AdaptiveAvgPool2d(7))
    assert case.maps.shape == (3, case.known.channels, *case.known.cells)
    one = case.pictures[:1]
    assert torch.equal(case.backbone(one), case.backbone.pool(case.backbone.maps(one)[0]))
    for pooling, pool in {"grid": nn.AdaptiveAvgPool2d(7), "global": nn.AdaptiveAvgPool2d(1), "own": own}.items():
        feature_map, expected = FeatureMap(case.name, pooling), pool(case.maps)
        built = build(feature_map, case.model.state_dict())
        assert torch.equal(built.pool(case.maps), expected)
        assert measure(feature_map, case.known.size) == (expected.shape[1:], case.known.parameters)


def averaged(maps: Tensor, rows: int, columns: int) -> Tensor:
    """What AdaptiveAvgPool2d gives, cell by cell."""
    height, width = maps.shape[2:]
    cells = [
        maps[
            :,
            :,
            r * height // rows : -(-(r + 1) * height // rows),
            c * width // columns : -(-(c + 1) * width // columns),
        ]
        for r in range(rows)
        for c in range(columns)
    ]
    return torch.stack([cell.mean((2, 3)) for cell in cells], dim=2).reshape(*maps.shape[:2], rows, columns)


@pytest.mark.parametrize(("grid", "pooling"), [("5x4", "grid"), ("full", "own")])
def test_two_stages_add_the_last_larger_map_as_torchvisions_model_computes_it(
    case: Case, grid: str, pooling: str
) -> None:
    larger: list[Tensor] = []
    layer = case.model.get_submodule(case.known.before)
    hook = layer.register_forward_hook(lambda _, __, output: larger.append(output.clone()))
    with torch.no_grad():
        case.model(case.pictures[:1])
    hook.remove()
    (before,) = [maps.movedim(3, 1) if case.name.startswith("swin") else maps for maps in larger]
    state = case.model.state_dict()
    last = build(FeatureMap(case.name, pooling, grid), state)(case.pictures[:1])
    features = build(FeatureMap(case.name, pooling, grid, 2), state)(case.pictures[:1])
    rows, columns = last.shape[2:]
    assert torch.equal(features[:, : case.known.channels], last)
    assert torch.allclose(features[:, case.known.channels :], averaged(before, rows, columns), atol=1e-4)
    assert all(
        2 * cells - 1 <= side <= 2 * cells + 2 for side, cells in zip(before.shape[2:], case.known.cells, strict=True)
    )
    measured = measure(FeatureMap(case.name, pooling, grid, 2), case.known.size)
    assert measured == (features.shape[1:], case.known.parameters)


def test_it_never_trains_and_each_picture_is_alone_in_its_batch(case: Case) -> None:
    backbone = case.backbone
    backbone.train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    before = {key: buffer.clone() for key, buffer in backbone.named_buffers()}
    features = backbone(case.pictures[:1])
    assert all(torch.equal(before[key], buffer) for key, buffer in backbone.named_buffers())
    assert not features.requires_grad
    assert features.isfinite().all()
    among_others = backbone.pool(case.maps[:1])
    assert torch.allclose(features, among_others, rtol=0, atol=1e-4 * float(features.abs().max()))


def test_where_a_spot_moves_in_the_picture_the_change_moves_on_the_map(case: Case) -> None:
    """Its centre, for random layers spread a change over most of so small a map."""
    changes = (case.plain[1:] - case.plain[0]).abs().sum(1)
    changes /= changes.sum((1, 2), keepdim=True)
    rows, columns = case.known.cells
    (top, right), (bottom, left) = zip(
        (changes.sum(2) @ torch.linspace(0, 1, rows)).tolist(),
        (changes.sum(1) @ torch.linspace(0, 1, columns)).tolist(),
        strict=True,
    )
    assert bottom - top > 0.01
    assert right - left > 0.01


@pytest.mark.parametrize("name", ["swin_t", "swin_v2_t"])
def test_a_model_that_puts_channels_last_gives_them_first(name: str) -> None:
    """The document's pool took swin's columns and channels for rows and columns, and left 8 numbers of it."""
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None).eval()
    backbone = build(FeatureMap(name, "grid"), model.state_dict())
    pictures = torch.zeros(7, 3, 64, 96)
    cells = [(row, column) for row in range(2) for column in range(3)]
    for picture, (row, column) in zip(pictures[1:], cells, strict=True):
        picture[:, 32 * row : 32 * (row + 1), 32 * column : 32 * (column + 1)] = 1  # one cell's share of the picture
    maps = backbone.maps(pictures)[0]
    with torch.no_grad():
        assert torch.equal(maps, model.norm(model.features(pictures)).movedim(3, 1))
    most_changed = (maps[1:] - maps[0]).abs().sum(1).flatten(1).argmax(1)
    assert [divmod(int(cell), 3) for cell in most_changed] == cells


@pytest.mark.parametrize("name", ["squeezenet1_0", "squeezenet1_1", "mobilenet_v2"])
def test_real_weights_make_torchvisions_logits(real_weights: Path, frames: Split, name: str) -> None:
    model = torchvision.models.get_model(name, weights=None).eval()
    model.load_state_dict(torch.load(real_weights / f"{name}.pth", weights_only=True))
    preprocessing = Preprocessing((400, 255))
    picture = preprocessing.normalise(preprocessing.decode(frames.train[0].picture)[None] / 255)
    maps = build(FeatureMap(name, "grid"), load_state(name, str(real_weights))).maps(picture)[0]
    with torch.no_grad():
        assert torch.equal(own_logits(name, model, maps), model(picture))


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Split:
    """Eight small frames of the built-in sample to learn from, four to judge by."""
    folder, size = tmp_path_factory.mktemp("sample"), (160, 90)
    drawn = []
    for number, label in enumerate(sample.CLASSES * 2):
        picture, box = sample.draw(label, np.random.default_rng(number), size)
        picture.save(folder / f"{number}.png")
        drawn.append(Frame(look_at(folder / f"{number}.png"), label, to_shares(box, *size)))
    return Split(tuple(drawn[:8]), tuple(drawn[8:]))


@pytest.mark.parametrize("name", [*DOCUMENT, "convnext_tiny", "densenet121", "resnet18", *TIMM])
def test_a_backbone_trains_heads_for_an_epoch(name: str, frames: Split, tmp_path: Path) -> None:
    if name in TIMM:
        pytest.importorskip("timm", reason="timm is not installed")
    recipe = Recipe(
        backbone=name,
        weights="random",
        image_size="48x32",
        augmentations=1,
        batch_size=4,
        epochs=1,
        cls_head=LinearHead("8"),
        reg_head=ConvHead(1, 8),
    )
    everything = frames.train + frames.val
    bank = open_bank(
        recipe, frames, sample.CLASSES, frames=everything, views=1, source="nowhere", folder=tmp_path, device=CPU
    )
    (heads,) = looks = new_heads(recipe, bank, CPU)
    (epoch,) = train(recipe, bank, CPU, looks)
    assert np.isfinite([epoch.train.loss, epoch.val.loss, epoch.score]).all()
    with seeded(recipe.seed, 0, CPU):
        untrained = Heads(recipe, bank.shape, len(bank.classes)).state_dict()
    moved = [key for key, value in heads.state_dict().items() if not torch.equal(value, untrained[key])]
    assert {key.split(".")[0] for key in moved if key.endswith("weight")} == {"cls_head", "reg_head"}
