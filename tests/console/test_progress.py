"""What people see while they wait: a live line in a terminal, a whole line now and then elsewhere."""

import io
import math
import os
import re
import time
from collections.abc import Callable

import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from milair.console import progress
from milair.console.progress import Progress
from milair.recipe import Recipe, describe
from milair.study import duration

RECIPE = "cls conv 1×256, reg conv 4×256"


def in_a_terminal(columns: int, act: Callable[[Progress], None]) -> str:
    """What a terminal is sent."""
    master, slave = os.openpty()
    with os.fdopen(slave, "w") as stream, pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(columns))
        console = Progress(stream)
        act(console)
        console.say("end")
        shown = ""
        while "end\r\n" not in shown:  # what the terminal has passed on by now
            shown += os.read(master, 65536).decode()
    os.close(master)
    return shown


def trial(number: int, value: float | None = 0.5, **attributes: object) -> FrozenTrial:
    found = create_trial(
        state=TrialState.FAIL if value is None else TrialState.COMPLETE,
        value=value,
        user_attrs={"recipe": Recipe().to_json(), "epochs": 20, "seconds": 35} | attributes,
    )
    found.number = number
    return found


def test_in_a_terminal_the_last_line_is_live_and_gone_when_the_next_is_said() -> None:
    def act(console: Progress) -> None:
        for done in (32, 64):
            console.advance("training features", done, 64)
        console.say("bank")

    live, said = in_a_terminal(120, act).split("bank\r\n")
    assert "training features" in live
    assert "64/64" in live
    assert live.endswith("\r\x1b[1A\x1b[2K")  # up to the live line, which is erased
    assert live.rfind("\x1b[?25h") > live.rfind("\x1b[?25l")  # and the cursor is there again
    assert "training" not in said


def two_workers(console: Progress) -> None:
    console.search([], 4, ["cpu#1", "cpu#2"])
    for worker in ("cpu#2", "cpu#1"):
        console.advance(f"trial {worker[-1]}", 5, 20, 0.25, worker)


def test_each_worker_has_its_live_line_in_its_place() -> None:
    shown = in_a_terminal(120, two_workers)
    assert "score 0.2500, ? left" in shown
    assert shown.rindex("cpu#1 trial 1") < shown.rindex("cpu#2 trial 2")


def test_a_trial_that_ended_stands_above_the_live_lines_of_other_workers() -> None:
    def act(console: Progress) -> None:
        two_workers(console)
        console.trial(trial(1), "cpu#1")

    shown = in_a_terminal(120, act)
    line, live = shown[shown.index("    1  cpu#1   complete") :].split("\n", 1)
    assert RECIPE in line
    assert live.count("cpu#2 trial 2") > live.count("cpu#1 trial 1")  # which is not drawn again


def test_a_long_recipe_is_folded_below_itself_in_a_narrow_terminal() -> None:
    def act(console: Progress) -> None:
        console.search([], 1, [""])
        console.trial(trial(0, note="baseline"))

    shown = in_a_terminal(80, act)
    lines = [re.sub(r"\x1b\[[0-9;?]*\w", "", line).rstrip() for line in shown.split("\n")]
    assert lines[1:4] == [
        "trial  state      score    best  epochs    time    left  recipe",
        "    0  complete  0.5000  0.5000      20    35 s     0 s  cls conv 1×256, reg",
        " " * 57 + "conv 4×256  (baseline)",
    ]


def test_elsewhere_a_trial_is_one_line_however_long() -> None:
    stream = io.StringIO()
    Progress(stream).trial(trial(3, None, error="no [red]luck[/red] :cat: " + "again and " * 50))
    _, _, line = stream.getvalue().rstrip("\n").split("\n")
    assert line.startswith("    3  fail                          20    35 s       ?  ")
    assert f"{RECIPE}  no [red]luck[/red] :cat: again" in line
    assert line.count("again") == 50


def test_elsewhere_a_whole_line_comes_when_it_has_been_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    console = Progress(stream)
    console.advance("training features", 32, 64)
    assert stream.getvalue() == ""
    monkeypatch.setattr(progress, "_SILENCE", -1)
    console.paces["training features"] = time.monotonic() - 100, 24
    console.advance("training features", 64, 264)
    assert stream.getvalue() == "         training features: 64 of 264, 0.4 a second, 8 min left\n"


@pytest.mark.parametrize(
    ("ahead", "folds", "deadline", "text"),
    [(11, None, math.inf, "2 min left"), (16, 5, math.inf, "22 s left"), (11, None, 30.0, "30 s left")],
)
def test_time_is_left_for_what_is_ahead_confirmations_included(
    ahead: int, folds: int | None, deadline: float, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_SILENCE", -1)
    stream, now = io.StringIO(), 1000.0
    monkeypatch.setattr(progress, "monotonic", lambda: now)
    console = Progress(stream)
    console.search([], ahead, ["cpu"], now + 10 + deadline)
    now += 10
    console.trial(trial(0) if folds is None else trial(0, confirms=1, folds=folds))
    console.advance("trial 1", 5, 20, 0.25)
    assert text in stream.getvalue().splitlines()[-1]


def test_a_note_comes_once() -> None:
    stream = io.StringIO()
    console = Progress(stream)
    for text in ("bank, computed", "bank, found"):
        console.note(text, "bank")
    assert stream.getvalue() == "bank, computed\n"


@pytest.mark.parametrize(("seconds", "text"), [(8.4, "8 s"), (99, "99 s"), (180, "3 min"), (9000, "2.5 h")])
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_line_names_what_a_space_varies_and_the_heads_where_they_matter() -> None:
    recipe = Recipe().to_json()
    assert describe(recipe, {"backbone": "squeezenet1_0", "alpha": 0.123456}) == "backbone squeezenet1_0, alpha 0.1235"
    assert describe(recipe, {"cls_head.blocks": 1, "alpha": 0.5}) == f"{RECIPE}, alpha 0.5"
    shown = describe(recipe, {"cls_head.blocks": 1, "reg_head.dropout": 0.5, "reg_head.cells": 16})
    assert shown == f"{RECIPE}, reg_head.dropout 0.5, reg_head.cells 16"
    assert describe(recipe, {}) == RECIPE
