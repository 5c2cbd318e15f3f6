"""What the commands share: options, exit statuses, and errors as one line. Light to import."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from milair import __version__
from milair.errors import MilairError, UsageError, first_line, what_failed

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
_SIGNALS = (signal.SIGTERM, signal.SIGHUP) if hasattr(signal, "SIGHUP") else (signal.SIGTERM,)


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


def add_studies(made: argparse.ArgumentParser) -> None:
    """Options that say where things are kept."""
    made.add_argument("--studies", type=Path, default=Path("studies"), metavar="DIR", help="default: studies")
    made.add_argument("--storage", metavar="URL", help="SQLAlchemy URL; default: milair.db in --studies")
    made.add_argument(
        "--bank", type=Path, metavar="DIR", help="features kept on disk; default: the user's cache folder"
    )


def add_places(made: argparse.ArgumentParser, *, several: bool = False) -> None:
    """Options that say where things are kept and where they are computed."""
    add_studies(made)
    made.add_argument(
        "--bank-quota", type=float, default=20, metavar="GB", help="room for all banks; old ones go first; default: 20"
    )
    made.add_argument(
        "--devices",
        default="auto",
        metavar="DEVICES" if several else "DEVICE",
        help="auto (all GPUs, else the CPU), or names such as cuda:0,cuda:1" if several else "auto, cpu or cuda:N",
    )


def storage_url(options: argparse.Namespace) -> str:
    from milair.study import storage

    return str(options.storage or storage.default_url(options.studies))


def places(options: argparse.Namespace) -> list[str]:
    """The options by which another command finds the same study, bank and device."""
    from milair.study import storage

    studies = None if options.studies == Path("studies") else options.studies
    device = None if options.devices == "auto" else options.devices.split(",")[0]
    storage_shown = None if options.storage is None else storage.shown(options.storage)
    quota = None if options.bank_quota == 20 else options.bank_quota
    given = {
        "--studies": studies,
        "--storage": storage_shown,
        "--bank": options.bank,
        "--bank-quota": quota,
        "--devices": device,
    }
    return [str(word) for name, value in given.items() if value is not None for word in (name, value)]


class Interrupted(KeyboardInterrupt):
    """SIGTERM or SIGHUP: ends a command as Ctrl-C does, so that a trial in hand goes back to the queue."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


@contextmanager
def interruptible() -> Iterator[None]:
    """A block that these signals end; in a notebook, and where `nohup` says otherwise, all stays as it was after it."""
    before = {}
    if threading.current_thread() is threading.main_thread():
        heard = [number for number in _SIGNALS if signal.getsignal(number) is signal.SIG_DFL]
        before = {number: signal.signal(number, _interrupt) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, _: object) -> None:
    raise Interrupted(number)


def run(
    command: Callable[[argparse.Namespace], None], made: argparse.ArgumentParser, argv: Sequence[str] | None
) -> int:
    """Parse, run, and turn what went wrong into one line and an exit status."""
    arguments = made.parse_args(argv)
    try:
        with interruptible():
            command(arguments)
        return DONE
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt as interrupt:
        print("milair: interrupted", file=sys.stderr)
        return interrupt.status if isinstance(interrupt, Interrupted) else INTERRUPTED
    except Exception as error:
        if arguments.debug:
            raise
        print(f"milair: {_line(error)}", file=sys.stderr)
        return WRONG_USE if isinstance(error, UsageError) else FAILED


def leave(status: int) -> NoReturn:
    """End this process at once: taking torch apart takes seconds, and nothing is left to save."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):
            stream.flush()
    os._exit(status)


def _line(error: Exception) -> str:
    if isinstance(error, MilairError):
        return str(error)
    if isinstance(error, OSError):  # a full disk, a folder that may not be written
        return what_failed(error)
    if type(error).__module__.partition(".")[0] in ("optuna", "sqlalchemy"):  # a server that fails, a full disk
        from milair.study import storage

        return f"the database of studies: {storage.reason(error)}"
    return f"{type(error).__name__}: {first_line(error)} (--debug shows where)"


def add_frames(parser: argparse.ArgumentParser) -> None:
    """How frames are read and split."""
    parser.add_argument(
        "--objects",
        choices=("largest", "skip", "error"),
        help="of a frame with several objects take the largest (default), skip the frame, or call it an error",
    )
    parser.add_argument(
        "--split",
        choices=("stratified", "grouped", "file"),
        help="by class (default); so that near-duplicates are on one side; as the data say (default if they do)",
    )


def pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """`field=value` options as a dictionary."""
    for text in texts:
        if "=" not in text:
            raise UsageError(f"{option} {text}: it must be field=value, such as {option} backbone=resnet18")
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
