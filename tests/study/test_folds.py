"""Studies of folds: a trial is trained once a fold, judged on all frames, pruned between folds, and comes out again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from tiny import load, make, search

from milair import MilairError, Recipe, api, objective, studies
from milair import load as load_model
from milair.boxes import to_pixels
from milair.model.detector import Ensemble
from milair.model.preprocessing import opened
from milair.study import kept
from milair.study.arms import CONFIRMS, scores
from milair.study.kept import outputs
from milair.study.objective import Objective
from milair.study.pruners import ByFolds, step
from milair.study.results import GOAL, state
from milair.study.retraining import Combined, Retrained, Retraining
from milair.training.paired import Truth

FOLDS = ("--split", "folds:3")


def tiny(folder: Path, **choices: Any) -> Objective:
    place, spaces = folder / "frames", folder / "spaces"
    options: dict[str, Any] = {
        "views": 2,
        "device": "cpu",
        "spaces": spaces,
        "bank": folder / "bank",
        "split": "folds:3",
    }
    return objective("tiny", data=place, **options | choices)


def trained(made: Objective, trials: int = 1, pruner: optuna.pruners.BasePruner | None = None) -> optuna.Study:
    study = optuna.create_study(direction="maximize", pruner=pruner or optuna.pruners.NopPruner())
    study.optimize(made, n_trials=trials)
    return study


def test_a_trial_is_the_mean_over_all_frames_each_by_a_model_that_has_not_seen_it(tmp_path: Path) -> None:
    make(tmp_path)
    made = tiny(tmp_path)
    (trial,) = trained(made).trials
    session, attributes = made.session, trial.user_attrs
    assert session.validation == session.frames.labelled
    outcomes = Truth.of(session.validation, session.frames.classes).outcomes(outputs(trial))
    assert outcomes.shape == (24, 2)
    np.testing.assert_allclose(
        outcomes.mean(0), [attributes["iou"], attributes["accuracy"]], atol=1e-4
    )  # answers have five digits
    assert trial.value == pytest.approx((attributes["iou"] + attributes["accuracy"]) / 2)
    assert attributes["folds"] == 3
    last = step(Recipe.from_json(kept.trained(trial)), 5)
    assert list(trial.intermediate_values)[-3:] == [last + 1, last + 2, last + 3]
    assert trial.intermediate_values[last + 3] == trial.value
    assert 1 <= attributes["epoch"] <= attributes["epochs"] <= 5
    assert session.settings.overrides == {"normalisation": "frames"}  # the space has "data"


def test_a_fold_is_trained_as_that_split_alone_would_be(tmp_path: Path) -> None:
    """Its answers are those of a study of the same halves, at the same number of epochs."""
    make(tmp_path)
    made = tiny(tmp_path, overrides={"schedule": "cosine"})
    (trial,) = trained(made).trials
    for held in made.session.splits():
        rows = [f"{f.path.name},{'val' if f in held.val else 'train'}" for f in made.session.frames.labelled]
        (tmp_path / "frames" / "split.csv").write_text("\n".join(["filename,split", *rows]))
        alone = tiny(tmp_path, split="file", overrides={"schedule": "cosine", "normalisation": "frames"})
        study = optuna.create_study(direction="maximize")
        study.enqueue_trial(trial.params)
        study.optimize(alone, n_trials=1)
        of = {f.path: row for f, row in zip(made.session.validation, outputs(trial), strict=True)}
        assert outputs(study.trials[0]) == [of[frame.path] for frame in held.val]


def test_it_is_pruned_after_a_fold_and_keeps_what_it_came_to(tmp_path: Path) -> None:
    make(tmp_path)
    made = tiny(tmp_path)
    truth = Truth.of(made.session.validation, made.session.frames.classes)
    study = trained(made, 3, ByFolds(optuna.pruners.NopPruner(), truth, level=1.1))  # every one is worse than the first
    first, *others = study.trials
    assert first.state == TrialState.COMPLETE  # there was none to be worse than
    for trial in others:
        assert trial.state == TrialState.PRUNED
        assert list(trial.intermediate_values)[-1] == step(Recipe.from_json(kept.trained(trial)), 5) + 1
        assert trial.user_attrs["folds"] == 1
        known = ~np.isnan(scores(trial, truth))
        assert known.sum() == len(made.session.splits(kept.trained(trial)["seed"])[0].val)
        assert trial.value == pytest.approx(scores(trial, truth)[known].mean(), abs=1e-4)


def test_what_is_drawn_again_is_cut_anew(tmp_path: Path) -> None:
    make(tmp_path)
    made = tiny(tmp_path)
    study = optuna.create_study(direction="maximize")
    for _ in range(2):
        study.enqueue_trial({"cls_head.widths": "8", "alpha": 0.6})
    study.optimize(made, n_trials=2)
    seeds = [kept.trained(trial)["seed"] for trial in study.trials]
    assert seeds == [32, 33]
    assert made.session.splits(32) != made.session.splits(33)
    assert [len(outputs(trial)) for trial in study.trials] == [24, 24]


def test_it_comes_out_again_to_the_last_digit_as_an_ensemble_of_its_folds(tmp_path: Path) -> None:
    make(tmp_path)
    made = tiny(tmp_path)
    study = trained(made)
    session = replace(made.session, study=study)
    *folds, whole = Retraining(session, made.trainer)(study.trials, tmp_path / "model")
    assert isinstance(whole, Combined)
    assert (whole.members, whole.folds, whole.difference) == (3, 3, 0.0)
    assert [fold.folder.name for fold in folds] == ["model-fold1", "model-fold2", "model-fold3"]
    about = json.loads((tmp_path / "model" / "model.json").read_text())
    assert about["validation"]["score"] == study.best_value
    ensemble = load_model(tmp_path / "model", "cpu")
    assert isinstance(ensemble, Ensemble)
    paths = [frame.path for frame in session.validation[:3]]
    assert len(list(ensemble.predict(paths))) == 3
    # Each member answers for its own fold as the trial did: a pass over other pictures at once may round otherwise.
    for fold, split in zip(folds, session.splits(), strict=True):
        model = load_model(fold.folder, "cpu")
        answers = dict(zip(session.validation, outputs(study.trials[0]), strict=True))
        for prediction, frame in zip(model.predict([f.path for f in split.val]), split.val, strict=True):
            assert prediction.label == session.frames.classes[int(answers[frame][0])]
            _, (box,) = model.detect([opened(frame.picture)])
            assert box.tolist() == pytest.approx(answers[frame][2:], abs=1e-4)
            xmin, ymin, xmax, ymax = box.tolist()
            assert prediction.box == to_pixels((xmin, ymin, xmax, ymax), frame.width, frame.height)


def test_on_all_frames_it_is_one_model_of_as_many_epochs(tmp_path: Path) -> None:
    make(tmp_path)
    made = tiny(tmp_path)
    study = trained(made)
    (model,) = Retraining(replace(made.session, study=study), made.trainer, True)(study.trials, tmp_path / "model")
    assert isinstance(model, Retrained)
    assert (model.epoch, model.metrics) == (study.trials[0].user_attrs["epoch"], None)
    assert (
        model.expected == json.loads((tmp_path / "model" / "model.json").read_text())["out_of_fold"] == study.best_value
    )


def test_a_search_confirms_what_may_be_the_best(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [*make(tmp_path), *FOLDS, "--confirm", "4"]
    assert search(options, "--trials", "3") == 0
    out = capsys.readouterr().out
    study = load(tmp_path)
    confirming = [trial for trial in study.trials if CONFIRMS in trial.user_attrs]
    assert len(study.trials) - len(confirming) == 3
    assert 1 <= len(confirming) <= 4
    for trial in confirming:
        confirmed = kept.trained(study.trials[trial.user_attrs[CONFIRMS]])
        assert kept.trained(trial) == confirmed | {"seed": kept.trained(trial)["seed"]}
        assert kept.trained(trial)["seed"] > confirmed["seed"]
    assert "its first score was" in out
    assert search(options, "--trials", "3") == 0
    assert len(load(tmp_path).trials) == len(study.trials)  # nothing is left to confirm
    assert search(options, "--trials", "4") == 0  # and four are four that were drawn
    assert sum(CONFIRMS not in trial.user_attrs for trial in load(tmp_path).trials) == 4


def test_what_had_one_fold_is_begun_and_the_summary_says_how_it_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*make(tmp_path), *FOLDS, "--epochs", "1", "--trials", "2"]
    assert search(options, "--confirm", "0") == 0
    out = capsys.readouterr().out
    assert "tiny@frames: 2 begun" in out
    assert "tiny@frames has trials of one fold only; python -m milair.studies confirm tiny@frames trains" in out
    assert all(trial.user_attrs["folds"] == 1 for trial in load(tmp_path).trials)
    assert search(options) == 0  # by default a tenth of the trials, one at least
    states = [trial.state.name for trial in load(tmp_path).trials]
    assert states == ["PRUNED", "PRUNED", "COMPLETE"]
    best = max(load(tmp_path).trials[:2], key=lambda trial: trial.value or 0)
    assert load(tmp_path).trials[2].user_attrs[CONFIRMS] == best.number
    assert "tiny@frames: 2 begun, 1 complete" in capsys.readouterr().out


def test_when_time_is_short_what_may_be_the_best_is_still_trained_in_all_folds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("milair.study.searching.TURN", 0.0)  # at once
    options = [*make(tmp_path), *FOLDS, "--epochs", "1", "--trials", "2"]
    assert search(options, "--confirm", "0", "--timeout", "300") == 0
    assert search([*options[:-1], "4"], "--timeout", "300") == 0
    study = load(tmp_path)
    assert [CONFIRMS in trial.user_attrs for trial in study.trials] == [False, False, True, False, False]


def test_a_study_of_folds_is_another_than_one_of_a_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = make(tmp_path)
    assert search([*options, *FOLDS], "--trials", "1", "--epochs", "1") == 0
    assert search(options, "--trials", "1") == 0  # as it was begun
    assert search([*options, "--split", "folds:2"], "--trials", "1") == 1
    assert "was made with other split: kind folds:3, now folds:2; --name NAME starts another" in capsys.readouterr().err
    with pytest.raises(MilairError, match="by folds each model has others"):
        api.retrain("tiny", studies=tmp_path / "studies", unfreeze=1)


def test_a_confirmation_leaves_the_goal_of_a_study_that_is_not_finished(tmp_path: Path) -> None:
    options = [*make(tmp_path), *FOLDS]
    assert search(options, "--trials", "2", "--epochs", "1", "--pruner", "none") == 0
    load(tmp_path).set_user_attr(GOAL, 9)
    words = ("confirm", "tiny", "--trainings", "1", "--devices", "cpu", "--bank", str(tmp_path / "bank"))
    places = ("--studies", str(tmp_path / "studies"), "--spaces", str(tmp_path / "spaces"))
    assert studies.main([*words, *places]) == 0
    study = load(tmp_path)
    assert [CONFIRMS in trial.user_attrs for trial in study.trials] == [False, False, True]
    assert (study.user_attrs[GOAL], state(study)) == (9, "interrupted")
