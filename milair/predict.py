"""`python -m milair.predict`: the class and the box of the one object in each picture, as CSV and drawn."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from milair.console.command import command, leave
from milair.console.options import add_device, parser
from milair.errors import MilairError, UsageError

if TYPE_CHECKING:
    from milair.console.progress import Progress
    from milair.model.detector import Prediction

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


def arguments() -> argparse.ArgumentParser:
    made = parser(
        "predict",
        "Find and name the one object in pictures with a model that retrain saved.",
        "python -m milair.predict studies/models/heads@frames-7 my/pictures --csv submission.csv --draw drawn",
    )
    made.add_argument("model", type=Path, metavar="MODEL", help="a folder that retrain wrote")
    made.add_argument("pictures", type=Path, nargs="+", metavar="IMAGE_OR_DIR", help="pictures, or folders of them")
    made.add_argument("--csv", type=Path, metavar="FILE", help="write filename,class,xmin,ymin,xmax,ymax")
    made.add_argument("--draw", type=Path, metavar="DIR", help="write each picture with its box and class on it")
    add_device(made)
    return made


@command(arguments)
def main(options: argparse.Namespace, console: Progress) -> None:
    from milair.model import detector as checkpoint
    from milair.training import devices

    paths = find(options.pictures)
    targets = drawn(paths, options.draw) if options.draw else {}
    detector = checkpoint.load(options.model, devices.open_device(options.devices))
    found = []
    for prediction in detector.predict(paths):
        found.append(prediction)
        console.say(
            f"{prediction.path}  {prediction.label} {prediction.probability:.0%}  {' '.join(map(str, prediction.box))}"
        )
        if options.draw:
            draw(prediction, targets[prediction.path])
    if options.csv:
        write_csv(found, options.csv)
    for place in (options.csv, options.draw):
        if place:
            print(f"written: {place}", file=sys.stderr)


def find(places: Sequence[Path]) -> list[Path]:
    """The pictures named, and those in the folders named. MilairError if one is missing or a folder has none."""
    found = []
    for place in places:
        if place.is_dir():
            inside = sorted(path for path in place.iterdir() if path.suffix.lower() in PICTURES)
            if not inside:
                raise MilairError(f"{place}: there are no pictures in that folder")
            found += inside
        elif place.is_file():
            found.append(place)
        else:
            raise MilairError(f"{place}: there is no such picture or folder")
    return found


def write_csv(predictions: Iterable[Prediction], path: Path) -> None:
    """The competition's layout: whole pixels of the picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["filename", "class", "xmin", "ymin", "xmax", "ymax"])
        writer.writerows([made.path.name, made.label, *made.box] for made in predictions)


def drawn(paths: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Where each picture is drawn to. UsageError if that would overwrite a picture, or two would share a name."""
    targets: dict[Path, Path] = {}
    for path in paths:
        target = folder / f"{path.stem}.jpeg"
        if target in targets.values():
            raise UsageError(f"--draw {folder}: two pictures are called {path.stem}; draw their folders one by one")
        if target.exists() and target.resolve() in {other.resolve() for other in paths}:
            raise UsageError(f"--draw {folder}: that would overwrite {target}, one of the pictures")
        targets[path] = target
    return targets


def draw(prediction: Prediction, target: Path) -> None:
    """Write the picture with the box and the class on it, as a JPEG."""
    from milair.frames.drawing import draw_box
    from milair.frames.pictures import open_rgb

    target.parent.mkdir(parents=True, exist_ok=True)
    picture = open_rgb(prediction.path)
    draw_box(picture, prediction.box, f"{prediction.label} {prediction.probability:.0%}")
    picture.save(target, quality=90)


if __name__ == "__main__":
    leave(main())
