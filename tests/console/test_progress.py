"""What people see while they wait: a live line in a terminal, a whole line now and then elsewhere."""

import fcntl
import io
import os
import struct
import termios
import time

import pytest

from milair.console import progress
from milair.console.progress import Progress
from milair.recipe import Recipe, describe
from milair.study.results import duration


def test_in_a_terminal_the_last_line_is_live_and_gone_when_the_next_is_said() -> None:
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    with os.fdopen(slave, "w") as stream:
        console = Progress(stream)
        for done in (32, 64):
            time.sleep(0.15)  # tqdm draws at most ten times a second
            console.features("training features", done, 64)
        console.say("bank")
        shown = ""
        while not shown.endswith("\n"):  # what the terminal has passed on by now
            shown += os.read(master, 65536).decode()
    os.close(master)
    assert "\rtraining features: 100%|" in shown
    assert "64/64" in shown
    assert shown.split("\r")[-2:] == ["bank", "\n"]


def test_elsewhere_a_whole_line_comes_when_it_has_been_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    console = Progress(stream)
    console.features("training features", 32, 64)
    assert stream.getvalue() == ""
    monkeypatch.setattr(progress, "_SILENCE", -1)
    console.features("training features", 64, 64)
    assert stream.getvalue() == "         training features: 64 of 64\n"


@pytest.mark.parametrize(("seconds", "text"), [(8.4, "8 s"), (99, "99 s"), (180, "3 min"), (9000, "2.5 h")])
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_line_names_what_a_space_varies_and_the_heads_where_they_matter() -> None:
    recipe = Recipe().to_json()
    assert describe(recipe, {"backbone": "squeezenet1_0", "alpha": 0.123456}) == "backbone squeezenet1_0, alpha 0.1235"
    assert describe(recipe, {"cls_head.blocks": 1, "alpha": 0.5}) == "cls conv 1×256, reg conv 4×256, alpha 0.5"
    assert describe(recipe, {}) == "cls conv 1×256, reg conv 4×256"
