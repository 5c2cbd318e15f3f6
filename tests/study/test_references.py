"""References: recipes that a space cannot give, trained before all others and compared with them."""

import json
from pathlib import Path

import pytest
from optuna.trial import TrialState
from tiny import SPACE, load, make, search

from milair import Recipe, studies
from milair.study.kept import trained

GRID = SPACE.replace('["4", "8", "16", "8-8"]', '["4", "8"]').replace(
    'trial.suggest_float("alpha", 0.5, 0.9)', 'trial.suggest_categorical("alpha", [0.5, 0.7])'
)


def test_a_reference_is_trained_first_and_once_and_again_with_the_next_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = make(tmp_path)
    (tmp_path / "spaces" / "tiny.py").write_text(
        GRID.replace("\n\ndef", "\nREFERENCES = [replace(BASELINE, reg_head=ConvHead(0), seed=5)]\n\ndef")
    )
    assert search(options, "--trials", "9", "--epochs", "2", "--json") == 0  # all: four configurations and a reference
    assert json.loads(capsys.readouterr().out)["state"] == "finished"
    reference, baseline, *others = load(tmp_path).trials
    assert (reference.state, reference.params) == (TrialState.COMPLETE, {})
    recipe = Recipe.from_json(trained(reference))
    assert (recipe.reg_head.blocks, recipe.seed, recipe.epochs) == (0, 5, 2)  # type: ignore[union-attr]
    assert baseline.user_attrs["note"] == "baseline"
    assert len(others) == 3

    words = ["--studies", str(tmp_path / "studies")]
    assert studies.main(["again", "tiny@frames", "0", "--seeds", "1", *words]) == 0
    assert search(options, "--trials", "6", "--epochs", "2") == 0
    again = load(tmp_path).trials[5]
    assert trained(again) == trained(reference) | {"seed": 6}
    assert len(load(tmp_path).trials) == 6  # the reference waits no second time
    capsys.readouterr()
