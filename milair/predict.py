"""`python -m milair.predict`: the class and the box of the one object in each picture, as CSV, JSON and drawn."""

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from milair.console.command import Progress, command, leave
from milair.console.options import DEVICE, option, parser
from milair.errors import MilairError, UsageError

if TYPE_CHECKING:
    from milair.frames.listing import Listed

_MANY = 100  # pictures; of more that are written into a file, progress is shown and no line for each


def arguments() -> ArgumentParser:
    made = parser(
        "predict",
        "Detect and classify the one object in pictures with a model that retrain saved. Frames without an object are "
        "not in the task: each gets a class and a box.",
        "python -m milair.predict studies/models/heads@frames-7 --test frames --csv submission.csv",
        option("model", metavar="MODEL", type=Path, help="a folder that retrain wrote"),
        option("--test", type=Path, metavar="DIR", help="predict the frames without labels of this data folder"),
        option(
            "--names", type=Path, metavar="FILE", help="predict the pictures of a CSV: column filename, else the 1st"
        ),
        option("--folder", type=Path, metavar="DIR", help="where the pictures of --names lie; default: beside it"),
        option("--csv", type=Path, metavar="FILE", help="write filename,class,xmin,ymin,xmax,ymax"),
        option("--json", type=Path, metavar="FILE", dest="document", help="write the same with probabilities"),
        option(
            "--coco",
            type=Path,
            metavar="FILE",
            help="write COCO's results; image_id is the picture's place in the list, category_id the class's in "
            "model.json, both from 1",
        ),
        option(
            "--threshold",
            type=_share,
            metavar="P",
            help="call a picture uncertain whose probability is below it, 0 to 1; it keeps its class and box",
        ),
        option("--flip", action="store_true", help="see each picture mirrored as well"),
        option("--draw", type=Path, metavar="DIR", help="write each picture with its box and class on it"),
        DEVICE,
    )
    pictures = made.add_argument(
        "pictures", nargs="+", default=(), metavar="IMAGE_OR_DIR", help="pictures, folders of them, or 'quoted/*.jpeg'"
    )
    pictures.required = False  # with "*" argparse of Python 3.11 takes none after an option
    return made


@command(arguments)
def main(options: Namespace, console: Progress) -> None:
    from milair import api
    from milair.console import predictions
    from milair.frames import drawing
    from milair.frames.pictures import open_rgb

    pictures, missing = _listed(options)
    skipped = 0
    targets = _targets([picture.path for picture in pictures], options.draw) if options.draw else {}
    files = [file for file in (options.csv, options.coco, options.document) if file]
    quiet = bool(files) and len(pictures) > _MANY
    model = api.load(options.model, options.devices)
    waiting = deque["tuple[int, Listed]"]()  # those asked for whose prediction has not come

    def paths() -> Iterator[Path]:
        for number, picture in enumerate(pictures, 1):
            waiting.append((number, picture))
            yield picture.path

    def skip(_: object, why: MilairError) -> None:
        nonlocal skipped
        if len(pictures) + missing == 1:
            raise why
        skipped += 1
        console.close()
        print(f"milair: {why}; skipped", file=sys.stderr)

    with predictions.writers(options.csv, options.coco, options.document, options.threshold is not None) as writers:
        for prediction in model.predict(paths(), options.flip, skip):
            number, picture = waiting.popleft()
            while picture.path != prediction.path:  # that one was skipped
                number, picture = waiting.popleft()
            doubt = None if options.threshold is None else prediction.probability < options.threshold
            text = f"{prediction.label} {prediction.probability:.0%}{' uncertain' * bool(doubt)}"
            category = model.classes.index(prediction.label) + 1
            result = (number, picture.name, prediction.label, category, prediction.probability, prediction.box, doubt)
            for write in writers:
                write(predictions.Result(*result))
            if picture.path in targets:
                drawn = open_rgb(picture.path)
                drawing.draw_box(drawn, prediction.box, text)
                drawn.save(targets[picture.path], quality=90)
            if quiet:
                console.advance("pictures", number, len(pictures))
            else:
                console.say(f"{picture.path}  {text}  {' '.join(map(str, prediction.box))}")
    console.close()
    for place in filter(None, (*files, options.draw)):
        print(f"written: {place}", file=sys.stderr)
    if skipped + missing:
        total = len(pictures) + missing
        raise MilairError(f"{skipped + missing} of {total} pictures could not be read and were skipped")


def _listed(options: Namespace) -> "tuple[list[Listed], int]":
    """The pictures to predict, and how many more the data name of which there is no file: these are said."""
    from milair.frames import listing

    sources = [bool(options.pictures), options.test is not None, options.names is not None]
    if sum(sources) != 1:
        raise UsageError("pictures are named in one way: IMAGE_OR_DIR, --test DIR or --names FILE")
    if options.folder is not None and options.names is None:
        raise UsageError("--folder says where the pictures of --names lie")
    if options.pictures:
        return listing.named(options.pictures), 0
    if options.names:
        return listing.in_table(options.names, options.folder), 0
    pictures, faults = listing.unlabelled(options.test)
    for fault in faults:
        print(f"milair: {fault}; skipped", file=sys.stderr)
    return pictures, len(faults)


def _targets(paths: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Where each picture is drawn to. UsageError if that would overwrite a picture, or two would share a name."""
    targets: dict[Path, Path] = {}
    taken, own = set[Path](), {path.resolve() for path in paths}
    for path in dict.fromkeys(paths):
        target = folder / f"{path.stem}.jpeg"
        if target in taken:
            raise UsageError(f"--draw {folder}: two pictures are called {path.stem}; draw their folders one by one")
        if target.exists() and target.resolve() in own:
            raise UsageError(f"--draw {folder}: that would overwrite {target}, one of the pictures")
        targets[path] = target
        taken.add(target)
    folder.mkdir(parents=True, exist_ok=True)
    return targets


def _share(text: str) -> float:
    """An argparse type: a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= 1:
        raise ArgumentTypeError(f"'{text}' is not a number from 0 to 1")
    return value


if __name__ == "__main__":
    leave(main())
