"""Options that commands share: names, types, choices and defaults, each in one place. Light to import."""

import shutil
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from milair import __version__
from milair.errors import UsageError
from milair.features import QUOTA
from milair.frames import FEW, FOLDS, KINDS, MOST_FOLDS, OBJECTS, OF_FEW, is_kind

STUDIES = Path("studies")
AUTO = "auto"
Option = tuple[tuple[str, ...], dict[str, Any]]


def option(*names: str, **settings: Any) -> Option:
    """What argparse's `add_argument` takes: a value, so that several parsers may have it."""
    return names, settings


def split_kind(text: str) -> str:
    """A kind of split: one of KINDS, or folds:N. ArgumentTypeError if it is none."""
    if is_kind(text):
        return text
    kinds = ", ".join((*KINDS, f"{FOLDS}:N"))
    raise ArgumentTypeError(f"there is no split '{text}'; there are {kinds} (N from 2 to {MOST_FOLDS})")


STORES = (  # where studies and features are kept
    option("--studies", type=Path, default=STUDIES, metavar="DIR", help="default: %(default)s"),
    option("--storage", metavar="URL", help="SQLAlchemy URL; default: milair.db in --studies"),
    option("--bank", type=Path, metavar="DIR", help="features kept on disk; default: the user's cache folder"),
)
FRAMES = (  # how they are read and split. What is left out is as in the study, else the first choice
    option(
        "--objects",
        choices=OBJECTS,
        help=f"of a frame with several objects take the largest, skip the frame, or call it an error; "
        f"default: {OBJECTS[0]}",
    ),
    option(
        "--split",
        type=split_kind,
        metavar="KIND",
        help=f"stratified: by class; grouped: with near-duplicates on one side as well; folds:N: N such halves, of "
        f"which each is held back once; file: as the data say; default: as the space says, else {KINDS[2]} if the data "
        f"say it, {OF_FEW} of fewer than {FEW} frames, {KINDS[0]} of more",
    ),
)
QUOTAS = option(
    "--bank-quota",
    type=float,
    default=QUOTA,
    metavar="GB",
    help="room for all banks; old ones go first; default: %(default)g",
)
DEVICE = option("--devices", default=AUTO, metavar="DEVICE", help="auto, cpu or cuda:N; default: %(default)s")
DEVICES = option(
    "--devices",
    default=AUTO,
    metavar="DEVICES",
    help="auto (all GPUs, else the CPU), or names such as cuda:0,cuda:1; default: %(default)s",
)
ENGINES = (  # other places to train than this machine
    option(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="processes of this machine, or a Ray cluster of which it is a node; default: %(default)s",
    ),
    option("--address", metavar="HOST:PORT", help="of the Ray cluster; default: auto, the one that runs here"),
    option(
        "--workers",
        type=lambda text: None if text == AUTO else whole(1)(text),
        metavar="N",
        help="at most N on the cluster; default: auto, all it can have",
    ),
    option("--ship", action="store_true", help="send frames and weights to the cluster's nodes"),
)


def parser(command: str, description: str, example: str, *options: Option) -> ArgumentParser:
    """A parser with these options and those of every command; its help ends with an example."""
    added = ArgumentParser(
        prog=f"python -m milair.{command}",
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=RawDescriptionHelpFormatter,
    )
    added.set_defaults(bank_quota=QUOTA, devices=AUTO)  # of commands that do not compute
    version = option("--version", action="version", version=f"milair {__version__}")
    add(added, option("--debug", action="store_true", help="show the traceback of an error"), version, *options)
    return added


def add(parser: ArgumentParser, *options: Option) -> None:
    for names, settings in options:
        parser.add_argument(*names, **settings)


def where_options(options: Namespace) -> list[str]:
    """The options by which another command finds the same studies, as words."""
    from milair.study import storage

    return _words(
        {
            "--studies": None if options.studies == STUDIES else options.studies,
            "--storage": options.storage and storage.shown(options.storage),
        }
    )


def place_options(options: Namespace) -> list[str]:
    """The options by which another command finds the same study, bank and device, as words."""
    values = {
        "--bank": options.bank,
        "--bank-quota": None if options.bank_quota == QUOTA else options.bank_quota,
        "--devices": None if options.devices == AUTO else options.devices.split(",")[0],
    }
    return [*where_options(options), *_words(values)]


def _words(values: Mapping[str, Any]) -> list[str]:
    return [str(word) for option, value in values.items() if value is not None for word in (option, value)]


def program(name: str) -> str:
    """How to call a program of this environment from here: by its name, if that is what the shell would find."""
    path = Path(sys.executable).with_name(name)
    if shutil.which(name) == str(path):
        return name
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def pairs(option: str, texts: Sequence[str], example: str = "backbone=resnet18") -> dict[str, str]:
    """`field=value` options as a dictionary. UsageError names one without `=`."""
    for text in texts:
        if "=" not in text:
            raise UsageError(f"{option} {text}: it must be field=value, such as {option} {example}")
    return dict(text.split("=", 1) for text in texts)


def whole(low: int) -> Callable[[str], int]:
    """An argparse type: a whole number from `low`."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < low:
            raise ArgumentTypeError(f"'{text}' is not a whole number from {low}")
        return int(text)

    return parse
