"""Detectors: pictures in any form and decoded once, checkpoints that load without a random number."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from torch.utils._python_dispatch import TorchDispatchMode

from milair import predict
from milair.errors import MilairError, OutsideError
from milair.model import backbones
from milair.model.checkpoint import load, save
from milair.model.detector import Detector
from milair.model.heads import Heads
from milair.model.preprocessing import Preprocessing
from milair.recipe import ConvHead, LinearHead, Recipe

CPU = torch.device("cpu")
RECIPE = Recipe(backbone="squeezenet1_1", weights="random", image_size="64x48", cls_head=LinearHead("8"))


def make(recipe: Recipe = RECIPE) -> Detector:
    """A detector of random numbers that are not those of a backbone with weights "random"."""
    torch.manual_seed(1)
    backbone = backbones.build(recipe.feature_map)
    for parameter in backbone.parameters():
        parameter.mul_(1.01)
    shape, _ = backbones.measure(recipe.feature_map, recipe.size)
    scale = (0.5, 0.4, 0.3), (0.2, 0.3, 0.25)
    return Detector(Preprocessing(recipe.size, *scale), backbone, Heads(recipe, shape, 3), recipe, "abc").eval()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint."""
    folder = tmp_path_factory.mktemp("model") / "model"
    save(folder, make(), {"epoch": 7})
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    """More than a batch of them, of different sizes."""
    paths = [tmp_path / f"{number}.png" for number in range(35)]
    for number, path in enumerate(paths):
        noise = np.random.default_rng(number).integers(0, 256, (60 + number, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    return paths


class Draws(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes what draws random numbers; on the meta device there are none."""

    names: list[str]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        random = torch.Tag.nondeterministic_seeded in func.tags
        if random and isinstance(result, torch.Tensor) and result.device.type != "meta":
            self.names.append(str(func))
        return result


@contextmanager
def draws_noted() -> Iterator[list[str]]:
    with Draws() as draws:  # type: ignore[no-untyped-call]
        draws.names = []
        yield draws.names


def test_what_draws_is_noticed() -> None:
    with draws_noted() as draws:
        torch.nn.Linear(2, 2)
        torch.nn.Linear(2, 2, device="meta")
    assert len(draws) == 2


@pytest.mark.parametrize("name", ["squeezenet1_1", "swin_v2_t", "regnet_y_400mf", "googlenet", "convnext_tiny"])
def test_loading_draws_nothing_and_gives_the_same_model(tmp_path: Path, name: str) -> None:
    """Among them what holds numbers that are no weights (a Swin's coordinates), or computes its widths."""
    recipe = Recipe(backbone=name, weights="random", image_size="64x48", reg_head=ConvHead(1, 8))
    original = make(recipe)
    save(tmp_path, original, {})
    backbones.measure.cache_clear()
    before = torch.get_rng_state()
    with draws_noted() as draws:
        loaded = load(tmp_path, CPU)
    assert draws == []
    assert torch.equal(torch.get_rng_state(), before)
    assert not loaded.training
    assert {tensor.device.type for tensor in (*loaded.parameters(), *loaded.buffers())} == {"cpu"}
    assert [name for name, value in loaded.named_parameters() if value.requires_grad] == [
        name for name, value in original.named_parameters() if value.requires_grad
    ]
    picture = torch.randint(0, 256, (2, 3, 48, 64), dtype=torch.uint8)
    with torch.inference_mode():
        for one, other in zip(original(picture), loaded(picture), strict=True):
            assert torch.equal(one, other)


def test_a_checkpoint_says_all_that_predicting_needs(model: Path) -> None:
    values = json.loads((model / "model.json").read_text())
    assert values == {
        "format": 1,
        "recipe": RECIPE.to_json(),
        "classes": ["a", "b", "c"],
        "preprocessing": {
            "channels": "RGB",
            "size": [64, 48],
            "resize": "bilinear, aspect not kept",
            "range": [0, 1],
            "mean": [0.5, 0.4, 0.3],
            "std": [0.2, 0.3, 0.25],
        },
        "temperature": 1.0,
        "epoch": 7,
    }


def test_a_checkpoint_of_another_format_is_refused(model: Path, tmp_path: Path) -> None:
    values = json.loads((model / "model.json").read_text()) | {"format": 3}
    (tmp_path / "model.json").write_text(json.dumps(values))
    with pytest.raises(MilairError, match="its format is 3; this milair reads 1 and 2"):
        load(tmp_path, CPU)


def test_paths_pictures_and_arrays_have_the_same_predictions(model: Path, pictures: list[Path]) -> None:
    loaded = load(model, CPU)
    predictions = list(loaded.predict(pictures))
    assert [prediction.path for prediction in predictions] == pictures
    for prediction, path in zip(predictions, pictures, strict=True):
        assert prediction.label in "abc"
        assert 1 / 3 <= prediction.probability <= 1
        left, top, right, bottom = prediction.box
        with Image.open(path) as opened:
            assert 0 <= left < right <= opened.width
            assert 0 <= top < bottom <= opened.height

    def plain(images: Any) -> list[tuple[str, float, tuple[int, ...]]]:
        return [(made.label, made.probability, made.box) for made in loaded.predict(images)]

    expected = [(made.label, made.probability, made.box) for made in predictions]
    assert plain(str(path) for path in pictures) == expected
    assert plain(Image.open(path) for path in pictures) == expected
    assert plain(np.asarray(Image.open(path)) for path in pictures) == expected
    assert next(loaded.predict([Image.open(pictures[0])])).path is None


def test_predictions_come_as_they_are_asked_for(model: Path, pictures: list[Path]) -> None:
    asked = []

    def images() -> Iterator[Path]:
        for path in pictures:
            asked.append(path)
            yield path

    predictions = load(model, CPU).predict(images())
    next(predictions)
    assert len(asked) == 1


def test_each_picture_is_decoded_once(model: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    decoded, pixels = [], Image.open

    def counted(*arguments: Any) -> Image.Image:
        decoded.append(arguments)
        return pixels(*arguments)

    monkeypatch.setattr(Image, "open", counted)
    assert len(list(load(model, CPU).predict(pictures))) == len(decoded) == 35


def test_a_picture_is_predicted_as_it_is_shown(model: Path, tmp_path: Path) -> None:
    """Turned by its EXIF, whether it comes as a file or opened."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "turned.png", exif=exif)
    loaded = load(model, CPU)
    upright = np.rot90(noise, -1)
    turned, opened, array = (
        next(loaded.predict([picture]))
        for picture in (tmp_path / "turned.png", Image.open(tmp_path / "turned.png"), upright)
    )
    assert turned.box == opened.box == array.box
    assert turned.probability == opened.probability == array.probability


@pytest.mark.parametrize(
    ("picture", "says"),
    [
        (np.zeros((4, 4, 3)), r"a picture is float64 \(4, 4, 3\); it must be uint8 \[height, width, 3\]"),
        (np.zeros((4, 4), np.uint8), r"a picture is uint8 \(4, 4\); it must be"),
        (np.zeros((0, 4, 3), np.uint8), r"a picture is uint8 \(0, 4, 3\); it must be"),
        (Image.new("I;16", (4, 4)), "numbers of mode I;16"),
        (Path("nowhere.png"), "nowhere.png "),
    ],
)
def test_what_is_no_picture_is_refused(model: Path, picture: Any, says: str) -> None:
    with pytest.raises(MilairError, match=says) as refused:
        list(load(model, CPU).predict([picture]))
    assert "\n" not in str(refused.value)
    assert isinstance(refused.value, OutsideError) == isinstance(picture, Path)


def test_a_folder_of_gifs_can_be_predicted(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "gifs").mkdir()
    for number in range(2):
        Image.new("RGB", (80, 60), (90 * number, 9, 9)).save(tmp_path / "gifs" / f"{number}.gif")
    words = [str(model), str(tmp_path / "gifs"), "--devices", "cpu", "--draw", str(tmp_path / "drawn")]
    assert predict.main(words) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["0.jpeg", "1.jpeg"]


def test_a_temperature_changes_how_sure_a_model_is_and_nothing_else(pictures: list[Path], tmp_path: Path) -> None:
    original = make()
    plain = list(original.predict(pictures[:3]))
    expected = original.detect([Image.open(path) for path in pictures[:3]])[0].double().log()
    for temperature in (0.5, 3.0):
        original.temperature = temperature
        save(tmp_path, original, {})
        loaded = load(tmp_path, CPU)
        predictions = list(loaded.predict(pictures[:3]))
        assert [(made.label, made.box) for made in predictions] == [(made.label, made.box) for made in plain]
        probabilities = [made.probability for made in predictions]
        assert probabilities == pytest.approx((expected / temperature).softmax(1).max(1).values.tolist())
        assert [(made.probability < before.probability) for made, before in zip(predictions, plain, strict=True)] == [
            temperature > 1
        ] * 3


def test_a_checkpoint_without_a_temperature_is_read_and_one_of_nought_refused(model: Path, tmp_path: Path) -> None:
    values = json.loads((model / "model.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((model / "model.safetensors").read_bytes())
    del values["temperature"]
    (tmp_path / "model.json").write_text(json.dumps(values))
    assert load(tmp_path, CPU).temperature == 1
    (tmp_path / "model.json").write_text(json.dumps(values | {"temperature": 0}))
    with pytest.raises(MilairError, match="its temperature is 0"):
        load(tmp_path, CPU)


def test_pictures_that_cannot_be_decoded_are_left_out_where_somebody_is_told(model: Path, pictures: list[Path]) -> None:
    pictures[1].write_text("no picture")
    told: list[tuple[Any, str]] = []
    predictions = load(model, CPU).predict(pictures[:3], damaged=lambda image, why: told.append((image, str(why))))
    assert [made.path for made in predictions] == [pictures[0], pictures[2]]
    assert [image for image, _ in told] == [pictures[1]]
    assert str(pictures[1]) in told[0][1]
