"""What an option offers is there, and stands in one place; how a command is called from here."""

import sys
from pathlib import Path

import numpy as np
import pytest
from optuna.pruners import MedianPruner

from milair import MilairError, search
from milair.console.options import parser, place_options, program
from milair.features import QUOTA
from milair.frames import OBJECTS
from milair.study import PAIRED, PRUNERS, SAMPLERS, pruners
from milair.training.paired import Truth


@pytest.mark.parametrize("kind", [kind for kind in PRUNERS if kind != PAIRED])
def test_each_pruner_offered_is_one_of_its_own(kind: str) -> None:
    """One that is not known must not become another in silence."""
    both = pruners.pruner(kind, 200)
    assert isinstance(both, pruners.AmongPeers)
    for one in (both.constant, both.scheduled):
        assert isinstance(one, MedianPruner) == (kind == "median")
    assert tuple(pruners.PRUNERS) == PRUNERS


def test_the_paired_pruner_is_one_for_folds() -> None:
    truth = Truth(np.zeros((9, 4)), np.zeros(9, int))
    for kind, first_only, confirmations in [(PAIRED, False, 0), ("median", True, 4), (None, True, 4)]:
        by_folds = pruners.pruner(kind, 200, truth)
        assert isinstance(by_folds, pruners.ByFolds)
        assert isinstance(by_folds.within, pruners.AmongPeers)
        assert isinstance(by_folds.within.scheduled, MedianPruner) == first_only
        assert (by_folds.first_only, pruners.confirmations(by_folds, 40)) == (first_only, confirmations)
    assert pruners.confirmations(pruners.pruner("none", 200, truth), 40) == 0
    with pytest.raises(MilairError, match="--pruner paired compares after each fold; it needs --split folds:5, say"):
        pruners.pruner(PAIRED, 200)


@pytest.mark.parametrize(
    ("option", "choices"),
    [("--sampler", SAMPLERS), ("--pruner", PRUNERS), ("--objects", OBJECTS)],
)
def test_choices_are_those_of_one_table(
    option: str, choices: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    for choice in choices:
        options = search.arguments().parse_args(["--study", "heads", option, choice])
        assert getattr(options, option.removeprefix("--")) == choice
    with pytest.raises(SystemExit, match="2"):
        search.arguments().parse_args(["--study", "heads", option, "magic"])
    assert f"argument {option}: invalid choice: 'magic'" in capsys.readouterr().err


def test_what_another_command_needs_to_find_the_study_is_what_is_not_the_default() -> None:
    def words(*given: str) -> list[str]:
        return place_options(search.arguments().parse_args(["--study", "heads", *given]))

    assert words() == words("--studies", "studies", "--devices", "auto", "--bank-quota", f"{QUOTA:g}") == []
    given = ["--studies", "mine", "--bank", "bank", "--bank-quota", "2.5", "--devices", "cpu"]
    assert words(*given) == given
    assert words("--devices", "cuda:1,cpu") == ["--devices", "cuda:1"]
    assert words("--storage", "postgresql://me:secret@host/db") == ["--storage", "postgresql+psycopg2://me@host/db"]


def test_a_program_is_called_as_the_shell_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", "")
    assert program("python") == str(tmp_path / "bin" / "python")
    monkeypatch.chdir(tmp_path)
    assert program("python") == "bin/python"
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert program("python") == "python"


def test_defaults_stand_in_the_help() -> None:
    shown = " ".join(search.arguments().format_help().split())
    for default in ("banks; old ones go first; default: 20", "--studies DIR default: studies", "default: tpe"):
        assert default in shown
    assert parser("x", "", "").parse_args([]).debug is False
