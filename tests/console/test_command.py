"""Running a command: its exit status, its signals, and what went wrong as one line."""

import argparse
import os
import signal
import sys
from collections.abc import Callable

import pytest

from milair.console.command import command
from milair.console.options import parser
from milair.console.progress import Progress
from milair.errors import MilairError, UsageError


def run(act: Callable[[], None], *words: str) -> int:
    @command(lambda: parser("test", "", ""))
    def main(options: argparse.Namespace, console: Progress) -> None:
        assert options.debug == ("--debug" in words)
        assert console.stream is sys.stdout
        act()

    return main(words)


def fails(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (MilairError("no frames"), 1, "no frames"),
        (UsageError("--x: no such thing"), 2, "--x: no such thing"),
        (FileNotFoundError(2, "No such file or directory", "a.csv"), 1, "a.csv: No such file or directory"),
        (ValueError("odd\nvery"), 1, "ValueError: odd (--debug shows where)"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_what_went_wrong_is_one_line_and_a_status(
    capsys: pytest.CaptureFixture[str], error: BaseException, status: int, line: str
) -> None:
    assert run(fails(error)) == status
    assert capsys.readouterr().err == f"milair: {line}\n"


def test_a_command_that_ends_well_is_status_0() -> None:
    assert run(lambda: None) == 0


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(MilairError, match="no frames"):
        run(fails(MilairError("no frames")), "--debug")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_as_ctrl_c_does(capsys: pytest.CaptureFixture[str], number: signal.Signals) -> None:
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip(f"{number.name} is ignored here, as under nohup")
    assert run(lambda: os.kill(os.getpid(), number)) == 128 + number
    assert capsys.readouterr().err == "milair: interrupted\n"
    assert signal.getsignal(number) is signal.SIG_DFL


def test_a_signal_that_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run(lambda: os.kill(os.getpid(), signal.SIGHUP)) == 0
    finally:
        signal.signal(signal.SIGHUP, before)
