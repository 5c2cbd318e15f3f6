"""What the commands share: options, exit statuses, and errors as one line. Light to import."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from milair import __version__
from milair.errors import MilairError, UsageError

DONE, FAILED, WRONG_USE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


def parser(command: str, description: str, example: str) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog=f"python -m milair.{command}",
        description=description,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--debug", action="store_true", help="show the traceback of an error")
    made.add_argument("--version", action="version", version=f"milair {__version__}")
    return made


def add_places(made: argparse.ArgumentParser) -> None:
    """Options that say where things lie."""
    made.add_argument("--studies", type=Path, default=Path("studies"), metavar="DIR", help="default: studies")
    made.add_argument("--storage", metavar="URL", help="SQLAlchemy URL; default: milair.db in --studies")
    made.add_argument(
        "--bank", type=Path, metavar="DIR", help="features kept on disk; default: the user's cache folder"
    )
    made.add_argument("--devices", default="auto", metavar="DEVICE", help="auto, cpu or cuda:N; default: auto")


def places(options: argparse.Namespace) -> list[str]:
    """The options by which another command finds the same study."""
    studies = [] if options.studies == Path("studies") else ["--studies", str(options.studies)]
    return studies + (["--storage", options.storage] if options.storage else [])


def run(
    command: Callable[[argparse.Namespace], int | None], made: argparse.ArgumentParser, argv: Sequence[str] | None
) -> int:
    """Parse, run, and turn what went wrong into one line and an exit status."""
    arguments = made.parse_args(argv)
    try:
        return command(arguments) or DONE
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except MilairError as error:
        if arguments.debug:
            raise
        print(f"milair: {error}", file=sys.stderr)
        return WRONG_USE if isinstance(error, UsageError) else FAILED
    except OSError as error:  # a full disk, a folder that may not be written: where is in the error
        if arguments.debug:
            raise
        print(f"milair: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("\nmilair: interrupted; the same command goes on where this one stopped", file=sys.stderr)
        return INTERRUPTED


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """`field=value` options as a dictionary."""
    for text in texts:
        if "=" not in text:
            raise UsageError(f"--set {text}: it must be field=value, such as --set alpha=0.5")
    return dict(text.split("=", 1) for text in texts)


def whole(low: int) -> Callable[[str], int]:
    """An argparse type: a whole number from `low`."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low:
            raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from {low}")
        return value

    return parse


def shown(program: str) -> str:
    """How to call a program of this environment from here: by its name, if that is what the shell would find."""
    beside = Path(sys.executable).parent / program
    found = shutil.which(program)
    if found is not None and Path(found) == beside:
        return program
    try:
        return str(beside.relative_to(Path.cwd()))
    except ValueError:
        return str(beside)
