"""ONNX: Pillow's pixels to the last bit, torch's outputs, and a line for what cannot be written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

from milair import DenseHead, Recipe, api
from milair import export as command
from milair.errors import MilairError
from milair.model import backbones, cascade, export, resampling
from milair.model.backbones import Backbone
from milair.model.checkpoint import save
from milair.model.detector import Detector, Ensemble
from milair.model.heads import Heads, shapes
from milair.model.preprocessing import Preprocessing

HEAD = DenseHead(8, 1)
ONE = Recipe(backbone="squeezenet1_1", weights="random", image_size="64x48", cls_head=HEAD, reg_head=HEAD)
TWO = replace(ONE, looks=2, crop_size=48, decides="mean")
FUNCTIONS = ["resampled", "two_passes", "resized", "shrunk", "cut_out"]


def session(name: str, inputs: Sequence[onnx.ValueInfoProto], numbers: dict[str, Any]) -> onnxruntime.InferenceSession:
    """A graph of one of resampling's functions."""
    functions = [getattr(resampling, function).to_function_proto() for function in FUNCTIONS]
    domain = functions[0].domain
    for function in functions:
        if not any(used.domain == domain for used in function.opset_import):
            function.opset_import.append(helper.make_opsetid(domain, 1))
    node = helper.make_node(name, [value.name for value in inputs], ["shown"], domain=domain, **numbers)
    shown = helper.make_tensor_value_info("shown", TensorProto.UINT8, None)
    opsets = [helper.make_opsetid("", export.OPSET), helper.make_opsetid(domain, 1)]
    model = helper.make_model(
        helper.make_graph([node], "one", inputs, [shown]), functions=functions, opset_imports=opsets, ir_version=10
    )
    return onnxruntime.InferenceSession(model.SerializeToString())


PICTURES = helper.make_tensor_value_info("pictures", TensorProto.UINT8, ["n", "height", "width", 3])
CROPS = helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["n", 4])


def noise(seed: int, width: int, height: int) -> np.typing.NDArray[np.uint8]:
    """Two pictures, one of them black and white, which round at the edges of what a byte holds."""
    pictures = np.random.default_rng(seed).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    pictures[1] = (pictures[1] > 127) * 255
    return pictures


def test_a_frame_of_any_size_is_resized_as_pillow_does() -> None:
    run = session("shrunk", [PICTURES], {"width": 64, "height": 48})
    random = np.random.default_rng(0).integers(1, 400, (30, 2)).tolist()
    for width, height in [(1280, 720), (64, 48), (5, 7), (1, 1), (80, 600), (700, 60), *random]:
        pictures = noise(width, width, height)
        expected = [Image.fromarray(picture).resize((64, 48), Image.Resampling.BILINEAR) for picture in pictures]
        (shown,) = run.run(None, {"pictures": pictures})
        assert np.array_equal(shown, np.stack([np.asarray(one) for one in expected]).transpose(0, 3, 1, 2)), (
            width,
            height,
        )


def test_a_crop_is_cut_as_the_cascade_does_beyond_the_frame_too() -> None:
    run = session("cut_out", [PICTURES, CROPS], {"side": 48})
    torch.manual_seed(0)
    for seed in range(30):
        width, height = np.random.default_rng(seed).integers(20, 300, 2).tolist()
        pictures, boxes = noise(seed, width, height), torch.rand(2, 4).sort(1).values * 1.4 - 0.2
        crops = cascade.square(boxes, torch.tensor([[width, height]] * 2), 1 + seed % 3)
        (shown,) = run.run(None, {"pictures": pictures, "crops": crops.numpy()})
        for picture, crop, one in zip(pictures, crops.tolist(), shown, strict=True):
            assert np.array_equal(one, cascade.cut(Image.fromarray(picture), crop, 48)), (width, height, crop)


def detector(backbone: Backbone, seed: int, recipe: Recipe) -> Detector:
    torch.manual_seed(seed)
    first, *second = [Heads(recipe, shape, 3) for shape in shapes(recipe)]
    return Detector(Preprocessing(recipe.size), backbone, first, recipe, "abc", *second).eval()


def models() -> dict[str, Detector | Ensemble]:
    backbone = backbones.build(ONE.feature_map)
    one, two = detector(backbone, 1, ONE), detector(backbone, 2, TWO)
    own = detector(backbones.build(ONE.feature_map), 3, replace(TWO, iterations=1))
    return {"one": one, "two": two, "ensemble": Ensemble([one, two, own], flip=True)}


@pytest.mark.parametrize("name", ["one", "two", "ensemble"])
def test_onnx_runtime_and_torch_agree_on_frames_of_any_size_and_number(name: str, tmp_path: Path) -> None:
    model = models()[name]
    sizes = [(90, 60), (60, 90), (40, 200), (64, 48)]
    frames = [Image.fromarray(noise(number, *size)[0]) for number, size in enumerate(sizes)]
    written = api.export(model, tmp_path / "new" / "model.onnx", check=frames)
    assert written.difference.pictures == 4
    tolerance = export.TOLERANCE if name == "one" else export.OF_TWO_LOOKS
    assert written.difference.within(tolerance)
    assert [path.name for path in written.path.parent.iterdir()] == ["model.onnx"]
    run = onnxruntime.InferenceSession(written.path)
    about = run.get_modelmeta().custom_metadata_map
    assert json.loads(about["classes"]) == list("abc")
    assert about["boxes"].startswith("xmin, ymin, xmax, ymax in pixels")
    recipes = json.loads(about["recipe"])
    assert recipes == ([m.recipe.to_json() for m in model] if isinstance(model, Ensemble) else model.recipe.to_json())
    pictures = noise(7, 120, 70)
    probabilities, boxes = run.run(None, {"pictures": pictures})
    expected, shares = model.detect([Image.fromarray(picture) for picture in pictures])
    assert np.allclose(probabilities, expected, atol=tolerance)
    assert np.allclose(boxes / ([120, 70] * 2), shares.clamp(0, 1), atol=tolerance)
    proto = onnx.load(written.path)
    assert (proto.ir_version, [(used.domain, used.version) for used in proto.opset_import]) == (10, [("", 18)])
    assert str(Path(export.__file__).parent).encode() not in written.path.read_bytes()


@pytest.fixture(scope="module")
def exported() -> onnx.ModelProto:
    return export.to_onnx(models()["one"])


def test_half_precision_is_half_as_large_and_computes_nearly_the_same(exported: onnx.ModelProto) -> None:
    half = export.in_half(exported)
    assert 0.45 < half.ByteSize() / exported.ByteSize() < 0.6
    changed = export.difference(export.by_runtime(exported), export.by_runtime(half), export.samples())
    assert 0 < changed.mean <= export.HALF_TOLERANCE
    weight = next(one for one in exported.graph.initializer if len(one.dims) == 4)
    broken = onnx.ModelProto()
    broken.CopyFrom(exported)
    next(one for one in broken.graph.initializer if one.name == weight.name).CopyFrom(
        onnx.numpy_helper.from_array(np.full(weight.dims, 1e5, np.float32), weight.name)
    )
    with pytest.raises(MilairError, match=r"--half: .* holds weights that half precision cannot"):
        export.in_half(broken)


def test_a_file_that_differs_from_torch_is_not_written(
    exported: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model.onnx").write_text("before")
    monkeypatch.setattr(export, "to_onnx", lambda _: exported)
    other = models()["one"]
    with torch.no_grad():
        next(other.parameters()).add_(0.1)
    with pytest.raises(MilairError, match=r"not written, as ONNX Runtime and torch differ by more than 0.0001: 8 pic"):
        api.export(other, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_text() == "before"
    with pytest.raises(MilairError, match="no picture to compare"):
        api.export(other, tmp_path / "model.onnx", check=[])


@pytest.mark.parametrize(("name", "mean", "written"), [("one", 1e-3, False), ("two", 1e-3, True), ("two", 3e-3, False)])
def test_two_looks_may_differ_more_as_long_as_they_agree_on_average(
    name: str, mean: float, written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "difference", lambda *_: export.Difference(8, 8e-3, 5e-3, 0.5, mean))
    monkeypatch.setattr(export, "to_onnx", lambda _: onnx.ModelProto())
    monkeypatch.setattr(export, "by_runtime", lambda _: None)
    with nullcontext() if written else pytest.raises(MilairError, match="--check DIR"):
        export.write(models()[name], tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").exists() == written


def test_the_command_writes_into_the_models_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "model", models()["one"], {})
    Image.fromarray(noise(1, 80, 60)[0]).save(tmp_path / "frame.png")
    assert command.main([str(tmp_path / "model"), "--check", str(tmp_path / "frame.png"), "--half"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("ONNX Runtime and torch on 1 pictures: probabilities differ by")
    assert said[1].startswith("half and single precision on 1 pictures")
    assert "MB in single precision (opset 18, IR 10)" in said[2]
    assert (tmp_path / "model" / "model.onnx").is_file()
    assert command.main([str(tmp_path / "nowhere")]) == 1
    assert capsys.readouterr().err == f"milair: {tmp_path}/nowhere: there is no model there (no model.json); " + (
        "python -m milair.retrain makes one\n"
    )
