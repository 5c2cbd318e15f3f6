"""What is done with a model's folder: load, predict and export, as functions of `milair.api`."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from milair.errors import UsageError
from milair.training import devices as places

if TYPE_CHECKING:  # torch, which comes when it is needed
    from milair.model.detector import Detector, Ensemble, Model, Prediction
    from milair.model.export import Exported
    from milair.model.preprocessing import AnyPicture


def load(folder: str | Path, device: str = "auto") -> "Detector | Ensemble":
    """The model of a folder that `retrain` saved. MilairError if it does not hold one."""
    from milair.model import checkpoint

    return checkpoint.load(Path(folder), places.open_device(device))


def predict(
    model: "str | Path | Model", images: "Iterable[AnyPicture]", device: str = "auto", flip: bool = False
) -> "Iterator[Prediction]":
    """Predictions for paths, PIL pictures or arrays uint8 [height, width, 3], in their order; with `flip` each is seen
    mirrored as well."""
    return (load(model, device) if isinstance(model, str | Path) else model).predict(images, flip)


def export(
    model: "str | Path | Detector | Ensemble",
    out: Path | None = None,
    *,
    half: bool = False,
    check: Iterable[Any] | None = None,
) -> "Exported":
    """Write a model, its preprocessing included, as an ONNX file: `out`, else model.onnx in its folder.

    With `half` its weights are in half precision. Torch and ONNX Runtime first predict the pictures of `check` (see
    `predict`), else a few drawn ones. MilairError, and nothing written, if they differ by more than 1e-4 (two looks:
    2e-3), or if half precision changes them by more than 0.005 on average."""
    from milair.model import export

    if isinstance(model, str | Path):
        return export.write(load(model, "cpu"), out or Path(model, "model.onnx"), half, check)
    if out is None or next(model.parameters()).device.type != "cpu":
        raise UsageError("a loaded model is exported from the CPU, to a file that `out` names")
    return export.write(model, out, half, check)
