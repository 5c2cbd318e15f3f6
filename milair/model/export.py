"""Models as ONNX files that need no milair: pixels of frames in, class probabilities and boxes in pixels out.

A file is checked against torch before it is kept. MilairError where the packages of the extra `export` are missing.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from milair import __version__
from milair.errors import MilairError, first_line
from milair.frames import sample
from milair.model.detector import Detector, Ensemble, cooled
from milair.model.graph import Graph, in_pixels
from milair.model.preprocessing import AnyPicture, opened

try:
    import onnx
    import onnx.inliner
    import onnx_ir
    import onnxruntime
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass, RemoveUnusedOpsetsPass
    from onnxscript import optimizer

    from milair.model import resampling
except ImportError as error:
    raise MilairError(f"ONNX needs more packages: pip install 'milair[export]' ({first_line(error)})") from None

OPSET, IR = 18, 10  # any ONNX Runtime from 1.18 on reads them
TOLERANCE = 1e-4  # of probabilities, and of boxes as shares of the frame
# The last digit of a first box, which differs from program to program, changes pixels of a crop by one: torch differs
# from itself by 8e-4 in another memory layout. Crops of whole pixels would end that, and cost scores.
OF_TWO_LOOKS = 2e-3  # on average; at most it may be several times that, where frames are small
HALF_TOLERANCE = 0.005  # the same on average, of weights in half precision against those in single precision
SAMPLES = 8  # drawn frames that a file is checked on where no others are given
Output = tuple[np.typing.NDArray[np.float32], np.typing.NDArray[np.float32]]
Run = Callable[[Image.Image], Output]


@dataclass(frozen=True, slots=True)
class Difference:
    """By how much outputs on the same pictures differ: at most, and on average."""

    pictures: int
    probability: float
    share: float  # of boxes, as a share of the frame
    pixels: float
    mean: float  # of each picture's larger one of probability and share

    def __str__(self) -> str:
        return (
            f"{self.pictures} pictures: probabilities differ by {self.probability:.1e} at most, boxes by "
            f"{self.share:.1e} of the frame ({self.pixels:.2g} pixels); {self.mean:.1e} on average"
        )

    def within(self, tolerance: float) -> bool:
        """Nothing differs by more. False for NaN."""
        return self.probability <= tolerance and self.share <= tolerance


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written, and how it was checked."""

    path: Path
    megabytes: float  # of 1024 x 1024 bytes
    single: float  # what it takes in single precision
    difference: Difference  # of ONNX Runtime, in single precision, from torch
    halving: Difference | None  # of half precision from single, if it is in half

    def __str__(self) -> str:
        lines = [f"ONNX Runtime and torch on {self.difference}"]
        if self.halving is not None:
            lines.append(f"half and single precision on {self.halving}")
        smaller = f", {self.single:.2f} MB in single precision" if self.halving is not None else ""
        return "\n".join([*lines, f"written: {self.path}, {self.megabytes:.2f} MB{smaller} (opset {OPSET}, IR {IR})"])


def write(
    model: Detector | Ensemble, out: Path, half: bool = False, check: Iterable[AnyPicture] | None = None
) -> Exported:
    """Export a model on the CPU to a file, and compare it with torch on the pictures of `check`, else on drawn ones.

    MilairError, and nothing written, if they differ by more than TOLERANCE, by two looks on average by more than
    OF_TWO_LOOKS, half precision by more than HALF_TOLERANCE, or there is nothing to compare on."""
    pictures = list(samples()) if check is None else list(check)
    if not pictures:
        raise MilairError(f"{out}: not written, as there is no picture to compare ONNX Runtime and torch on")
    single = smaller = to_onnx(model.eval())
    runtime, halving = by_runtime(single), None
    checked = difference(by_torch(model), runtime, map(opened, pictures))
    members = [model] if isinstance(model, Detector) else list(model)
    twice = any(member.second is not None for member in members)
    if not (checked.within(TOLERANCE) or (twice and checked.mean <= OF_TWO_LOOKS)):
        most = f"{OF_TWO_LOOKS:g} on average" if twice else f"{TOLERANCE:g}"
        raise MilairError(
            f"{out}: not written, as ONNX Runtime and torch differ by more than {most}: {checked} "
            "(--check DIR compares them on frames of your own)"
        )
    if half:
        smaller = in_half(single)
        halving = difference(runtime, by_runtime(smaller), map(opened, pictures))
        if not halving.mean <= HALF_TOLERANCE:
            raise MilairError(f"{out}: not written, as half precision changes more than {HALF_TOLERANCE}: {halving}")
    content = smaller.SerializeToString()
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        beside.write_bytes(content)
        beside.replace(out)
    except OSError as error:  # a full disk: an old file stays as it was
        beside.unlink(missing_ok=True)
        raise MilairError(f"{out}: {error.strerror}; the model was not written") from error
    return Exported(out, len(content) / 1024**2, single.ByteSize() / 1024**2, checked, halving)


def to_onnx(model: Detector | Ensemble) -> onnx.ModelProto:
    """A model on the CPU, its preprocessing included. MilairError if torch cannot export it.

    `pictures` uint8 [n, height, width, 3], frames of one size, any; `probabilities` float32 [n, classes] and `boxes`
    float32 [n, 4] in pixels. Its metadata say what they mean."""
    frames = torch.zeros(2, 360, 640, 3, dtype=torch.uint8)
    sizes = {axis: torch.export.Dim(name) for axis, name in enumerate(("n", "height", "width"))}
    operations: dict[Any, Any] = {
        torch.ops.milair.shrink.default: resampling.shrunk,
        torch.ops.milair.cut.default: resampling.cut_out,
    }
    try:
        program = torch.onnx.export(
            Graph(model).eval(),
            (frames,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["pictures"],
            output_names=["probabilities", "boxes"],
            dynamic_shapes={"pictures": sizes},
            custom_translation_table=operations,
            optimize=False,
            verbose=False,
        )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise MilairError(f"torch cannot export this model as ONNX ({first_line(error)})") from error
    assert program is not None
    # The exporter leaves out what its functions call within a branch or a loop.
    for function in (resampling.resampled, resampling.two_passes, resampling.resized):
        added = onnx_ir.serde.deserialize_function(function.to_function_proto())
        program.model.functions[added.identifier()] = added
    ClearMetadataAndDocStringPass()(program.model)  # which have paths of this machine
    inlined = onnx.inliner.inline_local_functions(onnx_ir.serde.serialize_model(program.model))
    graph = onnx_ir.serde.deserialize_model(inlined)
    optimizer.fold_constants(graph)  # the exporter's own optimisation loses initialisers of some ensembles
    optimizer.remove_unused_nodes(graph)
    RemoveUnusedOpsetsPass()(graph)
    proto: onnx.ModelProto = onnx_ir.serde.serialize_model(graph)
    proto.ir_version = IR
    onnx.helper.set_model_props(proto, metadata(model))
    onnx.checker.check_model(proto)
    return proto


def metadata(model: Detector | Ensemble) -> dict[str, str]:
    """What a program that runs the file needs to know, and where it is from."""
    recipes = [member.recipe.to_json() for member in ([model] if isinstance(model, Detector) else model)]
    return {
        "milair": __version__,
        "pictures": "uint8 [n, height, width, 3]: RGB, upright (turned as EXIF says), frames of one size",
        "classes": json.dumps(model.classes),
        "boxes": "xmin, ymin, xmax, ymax in pixels of the frame",
        "temperature": f"{model.temperature}, applied",
        "weights": "float32",
        "recipe": json.dumps(recipes[0] if len(recipes) == 1 else recipes),
    }


def in_half(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same with its weights in half precision; all that is computed stays in single precision.

    Biases and what BatchNorm holds stay as they are. MilairError if a weight is too large."""
    half = onnx.ModelProto()
    half.CopyFrom(proto)
    casts = []
    for weight in half.graph.initializer:
        if weight.data_type == onnx.TensorProto.FLOAT and len(weight.dims) > 1:
            values, name = onnx.numpy_helper.to_array(weight), weight.name
            if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
                raise MilairError(f"--half: {name} holds weights that half precision cannot")
            weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}.half"))
            casts.append(onnx.helper.make_node("Cast", [weight.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *half.graph.node]
    del half.graph.node[:]
    half.graph.node.extend(nodes)
    about = {entry.key: entry.value for entry in half.metadata_props}
    onnx.helper.set_model_props(half, about | {"weights": "float16 but for biases; computes in float32"})
    onnx.checker.check_model(half)
    return half


def by_torch(model: Detector | Ensemble) -> Run:
    """How torch runs a model: a picture that is upright and RGB to its probabilities and boxes."""

    def run(picture: Image.Image) -> Output:
        probabilities, boxes = model.detect([picture])
        return cooled(probabilities, model.temperature).float().numpy(), in_pixels(
            boxes, boxes.new_tensor(picture.size)
        ).numpy()

    return run


def by_runtime(proto: onnx.ModelProto) -> Run:
    """How ONNX Runtime does, on the CPU."""
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])

    def run(picture: Image.Image) -> Output:
        probabilities, boxes = session.run(None, {"pictures": np.asarray(picture)[None]})
        return probabilities, boxes

    return run


def difference(one: Run, other: Run, pictures: Iterable[Image.Image]) -> Difference:
    """By how much two runs differ on pictures that are upright and RGB."""
    rows = []
    for picture in pictures:
        (probabilities, box), (its_probabilities, its_box) = one(picture), other(picture)
        probability, pixels = np.abs(probabilities - its_probabilities).max(), np.abs(box - its_box)
        share = (pixels / (picture.size * 2)).max()
        rows.append([probability, share, pixels.max(), np.maximum(probability, share)])
    largest, mean = np.max(rows, axis=0), np.mean(rows, axis=0)
    return Difference(len(rows), float(largest[0]), float(largest[1]), float(largest[2]), float(mean[3]))


def samples() -> Iterator[Image.Image]:
    """Drawn frames, of several sizes."""
    for number in range(SAMPLES):
        size = (640, 360) if number % 2 else (360, 480)
        yield sample.draw(sample.CLASSES[number % len(sample.CLASSES)], np.random.default_rng([7, number]), size)[0]
