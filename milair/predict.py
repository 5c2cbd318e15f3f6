"""`python -m milair.predict`: the class and the box of the one object in each picture, as CSV and drawn."""

import csv
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from milair.console.command import Progress, command, leave
from milair.console.options import DEVICE, option, parser
from milair.errors import MilairError, UsageError


def arguments() -> ArgumentParser:
    return parser(
        "predict",
        "Detect and classify the one object in pictures with a model that retrain saved.",
        "python -m milair.predict studies/models/heads@frames-7 my/pictures --csv submission.csv --draw drawn",
        option("model", type=Path, metavar="MODEL", help="a folder that retrain wrote"),
        option("pictures", type=Path, nargs="+", metavar="IMAGE_OR_DIR", help="pictures, or folders of them"),
        option("--csv", type=Path, metavar="FILE", help="write filename,class,xmin,ymin,xmax,ymax"),
        option("--flip", action="store_true", help="see each picture mirrored as well"),
        option("--draw", type=Path, metavar="DIR", help="write each picture with its box and class on it"),
        DEVICE,
    )


@command(arguments)
def main(options: Namespace, console: Progress) -> None:
    from milair import api
    from milair.frames import drawing, pictures

    paths = find(options.pictures)
    targets = drawn(paths, options.draw) if options.draw else {}
    rows = []
    for path, prediction in zip(paths, api.predict(options.model, paths, options.devices, options.flip), strict=True):
        text = f"{prediction.label} {prediction.probability:.0%}"
        console.say(f"{path}  {text}  {' '.join(map(str, prediction.box))}")
        rows.append([path.name, prediction.label, *prediction.box])
        if path in targets:
            picture = pictures.open_rgb(path)
            drawing.draw_box(picture, prediction.box, text)
            picture.save(targets[path], quality=90)
    if options.csv:  # the competition's layout: whole pixels of the picture
        options.csv.parent.mkdir(parents=True, exist_ok=True)
        with options.csv.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerows([["filename", "class", "xmin", "ymin", "xmax", "ymax"], *rows])
    for place in filter(None, (options.csv, options.draw)):
        print(f"written: {place}", file=sys.stderr)


def find(places: Sequence[Path]) -> list[Path]:
    """The pictures named, and those in the folders named. MilairError if one is missing or a folder has none."""
    from milair.frames.pictures import PICTURES

    paths: list[Path] = []
    for place in places:
        if place.is_dir():
            inside = sorted(path for path in place.iterdir() if path.suffix.lower() in PICTURES)
            if not inside:
                raise MilairError(f"{place}: there are no pictures in that folder")
            paths += inside
        elif place.is_file():
            paths.append(place)
        else:
            raise MilairError(f"{place}: there is no such picture or folder")
    return paths


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
    folder.mkdir(parents=True, exist_ok=True)
    return targets


if __name__ == "__main__":
    leave(main())
