"""Limits: models that are over them cost no training and are never the best, whatever else comes of the study."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState
from tiny import load, make, search

from milair import MilairError, Recipe, api, objective, report, retrain, space
from milair.console.progress import Progress
from milair.errors import UsageError
from milair.model import heads
from milair.study import kept, limits, queue, results, samplers
from milair.study.kept import trained as recipe_json
from milair.study.objective import PINNED, Objective
from milair.study.session import open_session
from milair.training import in_process
from milair.training.values import News, Training

WIDTHS = ("4", "8", "16", "8-8")  # 0.90, 1.00, 1.20 and 1.00 million parameters; "8" is the baseline
FEW, NONE = "parameters=9e5", "parameters=1e3"


def tiny_objective(folder: Path, **given: float) -> Objective:
    places = {"data": folder / "frames", "spaces": folder / "spaces", "bank": folder / "bank"}
    return objective("tiny", views=2, device="cpu", limits=given, overrides={"epochs": "1"}, **places)


def queued(*pinned: str) -> optuna.Study:
    """A study in which a trial of each width waits."""
    study = optuna.create_study(direction="maximize")
    for widths in WIDTHS:
        study.enqueue_trial({"cls_head.widths": widths, "alpha": 0.5}, user_attrs={PINNED: widths in pinned})
    return study


def states(study: optuna.Study) -> dict[str, str]:
    return {trial.params["cls_head.widths"]: trial.state.name for trial in study.trials}


def test_what_has_too_many_parameters_is_not_trained_but_for_what_is_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path)
    made, study, trained = tiny_objective(tmp_path, parameters=9e5), queued("16"), list[str]()
    train = made.trainer.train

    def noted(training: Training) -> Iterator[News]:
        trained.append(str(training.recipe.cls_head))
        yield from train(training)

    monkeypatch.setattr(made.trainer, "train", noted)
    study.optimize(made, n_trials=4)
    assert trained == ["linear 4", "linear 16"]
    assert states(study) == {"4": "COMPLETE", "8": "PRUNED", "16": "COMPLETE", "8-8": "PRUNED"}
    for trial in study.trials:
        recipe = Recipe.from_json(recipe_json(trial))
        total = heads.size(recipe, len(made.session.frames.classes)).total
        assert trial.constraints == {"parameters": total / 9e5 - 1}
        assert kept.error(trial) == (
            "not trained: over the limit parameters=900000" if trial.state == TrialState.PRUNED else ""
        )
    assert [arm.trials[0].number for arm in results.ranked(study)] == [study.best_trial.number] == [0]


def test_what_is_too_slow_is_not_trained_and_every_trial_keeps_its_ms(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path)
    times = dict(zip(WIDTHS, (20.0, 40.0, 30.0, 31.0), strict=True))
    monkeypatch.setattr(in_process, "latency", lambda model, _: times[model.recipe.cls_head.widths])
    study = queued("8")
    study.optimize(tiny_objective(tmp_path, ms=30, parameters=2e6), n_trials=4)
    assert states(study) == {"4": "COMPLETE", "8": "COMPLETE", "16": "COMPLETE", "8-8": "PRUNED"}
    assert [trial.user_attrs["ms"] for trial in study.trials] == [*times.values()]
    assert [limits.within(trial) for trial in study.trials] == [True, False, True, False]
    assert "loss" not in study.trials[3].user_attrs
    assert {arm.trials[0].number for arm in results.ranked(study)} == {0, 2}
    plain = queued()
    plain.optimize(tiny_objective(tmp_path), n_trials=1)
    assert (plain.trials[0].user_attrs["ms"], plain.trials[0].constraints) == (20.0, {})


def test_a_trial_that_runs_again_keeps_what_it_was_found_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    times = iter((20.0, 40.0))
    monkeypatch.setattr(in_process, "latency", lambda *_: next(times))
    made, trial = tiny_objective(tmp_path, ms=30), queued().ask()
    for _ in range(2):
        assert made(trial) > 0
    assert trial.constraints == {"ms": pytest.approx(20 / 30 - 1)}


def test_a_limit_that_no_model_meets_ends_the_search_and_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*make(tmp_path), "--epochs", "1"]
    assert search(options, "--trials", "6", "--limit", NONE) == 0
    out, study = capsys.readouterr().out, load(tmp_path)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", *["PRUNED"] * 5]
    reached = results.why_none(study)
    assert reached.startswith("study tiny@frames has no complete trial within its limits (parameters=1000); the lowest")
    assert 890_000 < float(reached.rpartition("=")[2]) < 1_000_000
    assert reached in out
    assert "limits   parameters=1000" in out
    assert "over the limits (parameters=1000), so never the best: 0" in out
    assert "not trained: over the limit parameters=1000" in out.split("trouble\n")[1].splitlines()[0]
    assert "next" not in out
    places = ["--study", "tiny", "--studies", str(tmp_path / "studies")]
    for command, more in ((retrain, ["--devices", "cpu"]), (report, ["--spaces", str(tmp_path / "spaces")])):
        assert command.main([*places, *more]) == 1
        assert capsys.readouterr().err == f"milair: {reached}\n"
    assert search(options, "--trials", "6") == 0  # the study's own limits
    assert "nothing to do" in capsys.readouterr().out
    for other in (FEW, "ms=30"):
        assert search(options, "--trials", "7", "--limit", other) == 1
        said = capsys.readouterr().err
        assert said.startswith("milair: study tiny@frames was made with other limits: ")
        assert said.count("\n") == 1
    assert len(load(tmp_path).trials) == 6


def test_a_search_within_a_limit_has_the_best_that_is_within(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = api.search(
        "tiny",
        data=tmp_path / "frames",
        spaces=(make(tmp_path), tmp_path / "spaces")[1],
        studies=tmp_path / "studies",
        views=2,
        devices="cpu",
        trials=6,
        overrides={"epochs": "1"},
        limits={"parameters": 9e5, "ms": 1e6},
    )
    study, said = result.study, capsys.readouterr().out
    assert result.summary["limits"] == {"parameters": 9e5, "ms": 1e6}
    assert result.summary["over_limits"] == [0]  # the baseline
    best = result.summary["best"]
    assert best
    assert all(row["parameters"] <= 9e5 and row["ms"] > 0 for row in best)
    assert best[0]["trial"] == study.best_trial.number == results.pick(study)[0].number
    assert results.pick(study, 0)[0].number == 0  # whoever asks for it gets it
    assert "over the limits" not in said  # that is the command's
    assert json.loads(json.dumps(result.summary)) == result.summary


def test_the_best_score_that_a_search_shows_is_within() -> None:
    console = Progress()
    over, fine = (
        optuna.trial.create_trial(value=value, constraints={"ms": share}) for value, share in ((0.9, 0.1), (0.5, 0.0))
    )
    console.search([over, fine], 4, ["cpu"])
    assert console.best == 0.5
    console.trial(over)
    assert console.best == 0.5


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("foo=3", "--limit foo=3: there is no limit 'foo'; there are parameters, ms"),
        ("ms=abc", "--limit ms=abc: it must be a number above 0"),
        ("ms=0", "--limit ms=0: it must be a number above 0"),
        ("ms=nan", "--limit ms=nan: it must be a number above 0"),
        ("parameters=-1", "--limit parameters=-1: it must be a number above 0"),
        ("parameters=inf", "--limit parameters=inf: it must be a number above 0"),
        ("ms", "--limit ms: it must be field=value, such as --limit ms=30"),
    ],
)
def test_a_limit_that_is_none_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, says: str
) -> None:
    for more in ([], ["--dry-run"]):
        assert search(make(tmp_path / f"{len(more)}"), "--limit", words, *more) == 2
        assert capsys.readouterr().err == f"milair: {says}\n"
    assert not (tmp_path / "0" / "studies" / "milair.db").exists() or not optuna.get_all_study_names(
        f"sqlite:///{tmp_path / '0' / 'studies' / 'milair.db'}"
    )


def test_trials_that_are_taken_over_are_held_against_the_new_limits(tmp_path: Path) -> None:
    make(tmp_path)
    chosen, place = space.load("tiny", tmp_path / "spaces"), tmp_path / "frames"

    def session(name: str, **given: Any) -> Any:
        study = optuna.create_study(study_name=name, storage=f"sqlite:///{tmp_path / 'two.db'}", direction="maximize")
        return open_session(chosen, None, data=place, limits=given).store(study)

    old = session("old", parameters=9.5e5)
    for widths, total, ms in (("4", 896_764, 30.0), ("16", 1_198_000, 50.0), ("8-8", 997_264, None)):
        params = {"cls_head.widths": widths, "alpha": 0.5}
        fixed = optuna.trial.FixedTrial(params)
        kept = {"recipe": chosen(fixed).to_json(), "weights": "w", "parameters": {"total": total}}
        made = optuna.trial.create_trial(
            value=0.5,
            params=params,
            distributions=fixed.distributions,
            user_attrs=kept if ms is None else kept | {"ms": ms},
            constraints={"parameters": total / 9.5e5 - 1},
        )
        old.study.add_trial(made)
    new = session("new", ms=40)
    copied, others = queue.take_over(new, old.study, lambda _: "w")
    assert (copied, others) == (2, ["trial 2: an older milair trained it and did not keep ms, which has a limit"])
    assert [trial.constraints for trial in new.study.trials] == [{"ms": -0.25}, {"ms": 0.25}]


def test_tpe_draws_what_is_within_and_the_same_for_the_same_trials() -> None:
    def drawn(constrained: bool) -> list[float]:
        study = optuna.create_study(direction="maximize", sampler=samplers.Sampler("tpe", 0))
        for _ in range(40):
            trial = study.ask()
            size = trial.suggest_float("size", 0, 1)
            if constrained:
                trial.set_constraint("parameters", size / 0.3 - 1)
            study.tell(trial, size)  # larger is better
        return [trial.params["size"] for trial in study.trials[20:]]

    free, within = drawn(False), drawn(True)
    assert within == drawn(True)
    assert sum(size <= 0.3 for size in within) >= 10 > 2 * sum(size <= 0.3 for size in free)


def test_limits_given_from_python_are_numbers_or_named() -> None:
    assert limits.checked({"parameters": 5e6, "ms": "30"}) == {"parameters": 5e6, "ms": 30.0}
    assert limits.shown({"parameters": 5e6, "ms": 2.5}) == "parameters=5000000, ms=2.5"
    with pytest.raises(UsageError, match="there is no limit 'seconds'"):
        limits.checked({"seconds": 3})
    assert issubclass(UsageError, MilairError)
