"""`python -m milair.predict`: the class and the box of the one object in each picture, as CSV and drawn."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from milair import cli
from milair.errors import MilairError

if TYPE_CHECKING:
    from milair.checkpoint import Prediction

PICTURES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
_LINE = "#ff3b30"


def arguments() -> argparse.ArgumentParser:
    made = cli.parser(
        "predict",
        "Find and name the one object in pictures with a model that retrain saved.",
        "python -m milair.predict studies/models/heads@frames-7 my/pictures --csv submission.csv --draw drawn",
    )
    made.add_argument("model", type=Path, metavar="MODEL", help="a folder that retrain wrote")
    made.add_argument("pictures", type=Path, nargs="+", metavar="IMAGE_OR_DIR", help="pictures, or folders of them")
    made.add_argument("--csv", type=Path, metavar="FILE", help="write filename,class,xmin,ymin,xmax,ymax")
    made.add_argument("--draw", type=Path, metavar="DIR", help="write each picture with its box and class on it")
    made.add_argument("--devices", default="auto", metavar="DEVICE", help="auto, cpu or cuda:N; default: auto")
    return made


def command(options: argparse.Namespace) -> None:
    from milair import checkpoint, setup

    paths = find(options.pictures)
    detector = checkpoint.load(options.model, setup.open_device(options.devices))
    found = []
    for prediction in detector.predict(paths):
        found.append(prediction)
        print(
            f"{prediction.path}  {prediction.label} {prediction.probability:.0%}  {' '.join(map(str, prediction.box))}"
        )
        if options.draw:
            draw(prediction, options.draw)
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


def draw(prediction: Prediction, folder: Path) -> Path:
    """Write the picture with the box and the class on it, as a JPEG of the same name."""
    from PIL import Image, ImageDraw, ImageFont

    folder.mkdir(parents=True, exist_ok=True)
    with Image.open(prediction.path) as opened:
        picture = opened.convert("RGB")
    pen, unit = ImageDraw.Draw(picture), max(picture.height // 180, 1)
    xmin, ymin, xmax, ymax = prediction.box
    pen.rectangle((xmin, ymin, xmax - 1, ymax - 1), outline=_LINE, width=unit)
    text, font = f"{prediction.label} {prediction.probability:.0%}", ImageFont.load_default(8 * unit)
    place = pen.textbbox((xmin, max(ymin - 11 * unit, 0)), text, font=font)
    pen.rectangle((place[0] - unit, place[1] - unit, place[2] + unit, place[3] + unit), fill=_LINE)
    pen.text((xmin, max(ymin - 11 * unit, 0)), text, fill="white", font=font)
    path = folder / f"{prediction.path.stem}.jpeg"
    picture.save(path, quality=90)
    return path


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(command, arguments(), argv)


if __name__ == "__main__":
    sys.exit(main())
