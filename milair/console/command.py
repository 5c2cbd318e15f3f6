"""Running a command: signals, exit statuses, and errors as one line. Light to import."""

import os
import signal
import sys
import threading
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from milair.errors import MilairError, UsageError, what_failed

if TYPE_CHECKING:
    from milair.console.progress import Progress as Progress
else:  # what the commands name it by, for --help loads no rich
    Progress = object
Act = Callable[[Namespace, Progress], None]

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130


def command(arguments: Callable[[], ArgumentParser]) -> Callable[[Act], Callable[..., int]]:
    """Make a command's main function of what it does with its options and a console, and of its options' parser.

    `main(words)` runs it and returns its exit status, `main()` with the words of the command line.
    The console writes to stdout; to stderr, where `--json` asks for nothing else on stdout."""
    return lambda act: partial(_run, act, arguments)


def leave(status: int) -> NoReturn:
    """End this process at once: taking torch apart takes seconds, and nothing is left to save."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(BrokenPipeError):
            stream.flush()
    os._exit(status)


def _run(act: Act, arguments: Callable[[], ArgumentParser], argv: Sequence[str] | None = None) -> int:
    """Turn what went wrong into one line and an exit status."""
    options = arguments().parse_args(argv)
    from milair.console import progress

    try:
        stream = sys.stderr if getattr(options, "json", False) else sys.stdout
        with _interruptible(), closing(progress.Progress(stream)) as console:
            act(options, console)
        return DONE
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt as interrupt:
        print("milair: interrupted", file=sys.stderr)
        return interrupt.args[0] if interrupt.args else INTERRUPTED
    except Exception as error:
        if options.debug:
            raise
        print(f"milair: {_line(error)}", file=sys.stderr)
        return WRONG_USE if isinstance(error, UsageError) else FAILED


@contextmanager
def _interruptible() -> Iterator[None]:
    """A block that SIGTERM and SIGHUP end as Ctrl-C does, so that a trial in hand goes back to the queue.

    Only the first signal counts: what ends then takes a moment, and is not cut off. In a notebook, and where `nohup`
    says otherwise, all is as it was after the block."""
    numbers = {signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}  # Windows has no SIGHUP
    usual = (signal.SIG_DFL, signal.default_int_handler)
    main_thread = threading.current_thread() is threading.main_thread()  # no other may set handlers
    before = {number: handler for number in numbers if main_thread and (handler := signal.getsignal(number)) in usual}

    def interrupt(number: int, _: object) -> NoReturn:
        for handled in before:
            signal.signal(handled, signal.SIG_IGN)
        raise KeyboardInterrupt(128 + number)

    try:
        for number in before:
            signal.signal(number, interrupt)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _line(error: Exception) -> str:
    if type(error).__module__.partition(".")[0] in ("optuna", "sqlalchemy"):  # a server that fails, a full disk
        from milair.study import storage

        return f"the database of studies: {storage.reason(error)}"
    known = isinstance(error, MilairError | OSError)  # such as a full disk, a folder that may not be written
    return what_failed(error) + " (--debug shows where)" * (not known)
