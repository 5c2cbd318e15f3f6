"""The study: exact totals, seeds, pruning, identity, trials of another study; on real trainings of a second."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
from optuna.trial import FixedTrial, TrialState
from tiny import SPACE, frames, load, make, search

from milair import objective, space
from milair.errors import MilairError, UsageError
from milair.recipe import Recipe
from milair.study import PAIRED, lock, queue, samplers, storage
from milair.study import results as study
from milair.study.kept import RECIPE, curves, keep, trained
from milair.study.objective import PINNED, Objective
from milair.study.pruners import PRUNERS, pruner
from milair.study.session import Session, open_session, read_frames
from milair.study.settings import SAMPLE_OVERRIDES, TRAINING, Settings, new_settings

SEEDED = SPACE.replace("    )\n", "        seed=trial.suggest_categorical('seed', [32, 33, 34]),\n    )\n")


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished study of two trials."""
    folder = tmp_path_factory.mktemp("searched")
    assert search(make(folder), "--trials", "2") == 0
    return folder


def tiny_objective(folder: Path) -> Objective:
    return objective(
        "tiny", data=folder / "frames", views=2, device="cpu", spaces=folder / "spaces", bank=folder / "bank"
    )


def test_trials_is_a_total_wherever_the_frames_lie(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = [trial.value for trial in load(searched).trials]
    assert len(first) == 2
    shutil.copytree(searched / "studies", tmp_path / "studies")
    moved, before = make(tmp_path), psutil.Process().children()
    assert search(moved, "--trials", "2") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert psutil.Process().children() == before  # none waits for something to do
    assert study.stored_settings(load(tmp_path)).data == str(tmp_path / "frames")
    assert search(moved, "--trials", "3") == 0
    assert "none computed" in capsys.readouterr().out
    trials = load(tmp_path).trials
    assert len(trials) == 3
    assert [trial.value for trial in trials[:2]] == first


def test_the_baseline_is_first_and_all_is_kept(searched: Path) -> None:
    trial = load(searched).trials[0]
    chosen = space.load("tiny", searched / "spaces")
    kept = trial.user_attrs
    assert Recipe.from_json(trained(trial)) == chosen.baseline == chosen(FixedTrial(trial.params))
    assert trial.value == (kept["iou"] + kept["accuracy"]) / 2
    validation = (curves(trial) or {})["val"]
    losses = validation["loss"]
    assert len(losses) == kept["epochs"] == 5
    assert losses.index(min(loss for loss in losses if loss is not None)) + 1 == kept["epoch"]
    assert trial.value == (validation["iou"][kept["epoch"] - 1] + kept["accuracy"]) / 2
    assert kept["parameters"] > kept["trained"] > 0
    assert kept["ram_MB"] > 0
    assert kept["seconds"] > 0
    assert (kept["device"], kept["threads"]) == ("cpu", 1)


def test_the_objective_runs_under_plain_optuna(tmp_path: Path) -> None:
    make(tmp_path)
    plain = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    plain.optimize(tiny_objective(tmp_path), n_trials=2)
    assert all(trial.state == TrialState.COMPLETE for trial in plain.trials)
    fixed = tiny_objective(tmp_path)(FixedTrial(plain.trials[1].params))
    assert fixed == plain.trials[1].value


def test_a_configuration_drawn_again_trains_with_the_next_seed(tmp_path: Path) -> None:
    make(tmp_path)
    plain = optuna.create_study(direction="maximize")
    for _ in range(3):
        plain.enqueue_trial({"cls_head.widths": "4", "alpha": 0.5})
    plain.optimize(tiny_objective(tmp_path), n_trials=3)
    assert [trained(trial)["seed"] for trial in plain.trials] == [32, 33, 34]
    assert [trial.user_attrs.get("note") for trial in plain.trials] == [
        None,
        "drawn again: seed 33",
        "drawn again: seed 34",
    ]
    assert len({trial.user_attrs["loss"] for trial in plain.trials}) == 3


def test_no_two_trials_train_one_recipe_with_one_seed(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "spaces" / "tiny.py").write_text(SEEDED)
    prepare = tiny_objective(tmp_path).prepare
    plain = optuna.create_study(direction="maximize")
    for seed in (32, 34, 32, 32):
        plain.enqueue_trial({"cls_head.widths": "4", "alpha": 0.5, "seed": seed})
    plain.enqueue_trial({"cls_head.widths": "8", "alpha": 0.5, "seed": 34})
    trials = [plain.ask() for _ in range(5)]
    assert [prepare(trial).seed for trial in trials] == [32, 34, 33, 35, 34]
    assert [prepare(trial).seed for trial in reversed(trials)] == [34, 35, 33, 34, 32]  # each keeps its own


def older(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe as it was stored before there were schedules and second looks."""
    return {name: value for name, value in recipe.items() if name not in ("schedule", "ema", "looks")}


def test_what_an_older_version_trained_is_drawn_again_with_the_next_seed(tmp_path: Path) -> None:
    make(tmp_path)
    prepare = tiny_objective(tmp_path).prepare
    plain = optuna.create_study(direction="maximize")
    for _ in range(2):
        plain.enqueue_trial({"cls_head.widths": "4", "alpha": 0.5})
    first, again = plain.ask(), plain.ask()
    keep(first, recipe=older(prepare(first).to_json()))
    assert prepare(again).seed == 33


class _Always(optuna.pruners.BasePruner):
    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:  # noqa: ARG002
        return True


def test_what_loses_is_pruned_with_its_last_report_but_never_what_is_pinned(tmp_path: Path) -> None:
    make(tmp_path)
    plain = optuna.create_study(direction="maximize", pruner=_Always())
    plain.enqueue_trial({"cls_head.widths": "4", "alpha": 0.5}, user_attrs={PINNED: True})
    plain.optimize(tiny_objective(tmp_path), n_trials=2)
    pinned, free = plain.trials
    assert (pinned.state, free.state) == (TrialState.COMPLETE, TrialState.PRUNED)
    assert list(free.intermediate_values) == [10]
    assert free.value == free.intermediate_values[10] == (free.user_attrs["iou"] + free.user_attrs["accuracy"]) / 2
    assert free.user_attrs["epochs"] == 5


def test_patience_ends_a_trial_as_complete(tmp_path: Path) -> None:
    make(tmp_path)
    short = objective(
        "tiny",
        data=tmp_path / "frames",
        views=2,
        device="cpu",
        spaces=tmp_path / "spaces",
        overrides={"epochs": "60", "patience": "1", "learning_rate": "0.05"},
    )
    plain = optuna.create_study(direction="maximize", pruner=optuna.pruners.NopPruner())
    plain.optimize(short, n_trials=1)
    assert plain.trials[0].state == TrialState.COMPLETE
    assert plain.trials[0].user_attrs["epochs"] == plain.trials[0].user_attrs["epoch"] + 1 < 60


def test_a_study_that_was_killed_while_it_was_being_made_is_made_again(tmp_path: Path) -> None:
    url = storage.default_url(tmp_path / "studies")
    optuna.create_study(study_name="tiny@frames", storage=storage.open_storage(url), direction="maximize")
    assert search(make(tmp_path), "--trials", "0") == 0
    assert [trial.user_attrs["note"] for trial in load(tmp_path).trials] == ["baseline"]
    assert study.stored_settings(load(tmp_path)) == settings(tmp_path, views=2)


def test_weights_that_are_asked_for_are_never_random(tmp_path: Path) -> None:
    make(tmp_path)
    assert settings(tmp_path, weights="imagenet").overrides == {"weights": "pretrained"}
    assert settings(tmp_path, weights="random").overrides == {"weights": "random"}


def settings(folder: Path, **given: object) -> Settings:
    chosen = space.load("tiny", folder / "spaces")
    data = str(folder / "frames")
    return new_settings(chosen, data, read_frames(data), **given)  # type: ignore[arg-type]


def test_settings_are_json_both_ways_and_refuse_what_differs(tmp_path: Path) -> None:
    make(tmp_path)
    stored = settings(tmp_path, views=4, overrides={"epochs": "3"})
    assert Settings.from_json(json.loads(json.dumps(stored.to_json()))) == stored
    same = settings(tmp_path, stored=stored)
    stored.refuse_difference(same, "tiny@frames")
    for given, rule in (
        ({"views": 5}, "views: 4, now 5"),
        ({"overrides": {"epochs": "9"}}, "overrides: epochs 3, now 9"),
        ({"overrides": {"patience": "9"}}, "patience free, now 9"),
    ):
        with pytest.raises(MilairError, match=rule):
            stored.refuse_difference(settings(tmp_path, stored=stored, **given), "tiny@frames")
    with pytest.raises(MilairError, match=f"other scores of an incompatible version: 1, now {TRAINING}"):
        replace(stored, training=1).refuse_difference(same, "tiny@frames")
    (tmp_path / "spaces" / "tiny.py").write_text(SPACE.replace("0.9", "0.8"))
    with pytest.raises(MilairError, match="dimensions: alpha"):
        stored.refuse_difference(settings(tmp_path, stored=stored), "tiny@frames")


def test_what_a_space_varies_cannot_be_fixed(tmp_path: Path) -> None:
    make(tmp_path)
    for path, value in (("alpha", "0.5"), ("cls_head.widths", "4"), ("cls_head", '{"type": "conv"}')):
        with pytest.raises(MilairError, match=f"--set {path}: the space tiny varies"):
            settings(tmp_path, overrides={path: value})


def test_the_sample_is_searched_on_random_weights_and_fixes_its_own_size() -> None:
    chosen = space.load("heads", space.default_folder())
    made = new_settings(chosen, "sample", read_frames(str(frames())))
    assert made.overrides == {**SAMPLE_OVERRIDES, "weights": "random"}
    assert made.data == "sample"


@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_draws_follow_from_seed_and_number_whoever_asks(kind: str) -> None:
    alone = optuna.create_study(sampler=samplers.Sampler(kind, 0))
    together = optuna.create_study()
    draws: dict[int, list[int]] = {}
    for found, workers in ((alone, 1), (together, 2)):
        drawing = [samplers.Sampler(kind, 0) for _ in range(workers)]
        draws[workers] = []
        for number in range(6):
            found.sampler = drawing[number % workers]
            draws[workers].append(found.ask().suggest_int("x", 0, 10**9))
    assert draws[1] == draws[2]
    assert len(set(draws[1])) == 6


@pytest.mark.parametrize("before", [0, 15])
@pytest.mark.parametrize("kind", ["tpe", "random"])
def test_a_trial_killed_between_two_parameters_comes_out_the_same(kind: str, before: int) -> None:
    drawn = []
    for killed in (False, True):
        study = optuna.create_study(sampler=samplers.Sampler(kind, 0))
        for _ in range(before):
            trial = study.ask()
            study.tell(trial, trial.suggest_float("x", 0, 1) + trial.suggest_float("y", 0, 1))
        trial = study.ask()
        if killed:
            trial.suggest_float("x", 0, 1)
            study.sampler = samplers.Sampler(kind, 0)
            trial = optuna.Trial(study, trial._trial_id)
        drawn.append((trial.suggest_float("x", 0, 1), trial.suggest_float("y", 0, 1)))
    assert drawn[0] == drawn[1]


def test_a_pruner_that_is_unknown_is_refused() -> None:
    with pytest.raises(UsageError, match="--pruner magic: there is no such pruner; there are median, asha"):
        pruner("magic", 1200)


@pytest.mark.parametrize("kind", [kind for kind in PRUNERS if kind != PAIRED])
def test_every_pruner_takes_our_steps(kind: str) -> None:
    found = optuna.create_study(direction="maximize", pruner=pruner(kind, 1200))
    pruned = 0
    for number in range(30):
        trial = found.ask()
        for step in range(10, 1210, 10):
            trial.report(1 - number / 30, step)
            if trial.should_prune():
                pruned += 1
                found.tell(trial, state=TrialState.PRUNED)
                break
        else:
            found.tell(trial, 1 - number / 30)
    assert (pruned > 0) == (kind != "none")


GRID = SPACE.replace('trial.suggest_float("alpha", 0.5, 0.9)', 'trial.suggest_categorical("alpha", [0.6, 0.7])')


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
def test_a_start_covers_the_space_and_a_grid_draws_each_configuration_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], sampler: str
) -> None:
    """Eight configurations, each drawn once before any comes again; the end of a grid is the end."""
    options = make(tmp_path)
    (tmp_path / "spaces" / "tiny.py").write_text(GRID)
    assert search(options, "--trials", "99", "--epochs", "1", "--sampler", sampler) == 0
    assert "the space is exhausted: all of its 8 configurations were drawn" in capsys.readouterr().out
    drawn = [trial.params for trial in load(tmp_path).trials]
    points = [{"cls_head.widths": widths, "alpha": alpha} for widths in ("4", "8", "16", "8-8") for alpha in (0.6, 0.7)]
    assert drawn[0] == {"cls_head.widths": "8", "alpha": 0.7}  # the baseline
    assert sorted(map(repr, drawn)) == sorted(map(repr, points))
    assert study.state(load(tmp_path)) == "finished"


def test_the_first_draws_of_the_heads_differ() -> None:
    """They did not: the random start drew one configuration twice in its first three trials."""
    chosen = space.load("heads", space.default_folder())
    order = samplers.shuffled(chosen, 0, {})
    assert order is not None
    assert len({repr(point) for point in order}) == len(order) == 729
    assert order != samplers.shuffled(chosen, 1, {})


def test_a_finished_study_can_be_told_from_an_interrupted_one(tmp_path: Path) -> None:
    found = optuna.create_study(direction="maximize", storage=storage.open_storage(storage.default_url(tmp_path)))
    assert study.state(found) == "unknown"
    found.set_user_attr(study.GOAL, 2)
    states = []
    for _ in range(2):
        with lock.held(found):
            found.add_trial(optuna.create_trial(value=0.5))
            states.append(study.state(found))
        states.append(study.state(found))
    assert states == ["running", "interrupted", "running", "finished"]
    found.set_user_attr(study.GOAL, 9)
    found.set_user_attr(study.EXHAUSTED, True)
    assert study.state(found) == "finished"


@pytest.fixture
def old(tmp_path: Path) -> optuna.Study:
    """A finished study of three trials, made without training."""
    make(tmp_path)
    opened = storage.open_storage(storage.default_url(tmp_path / "studies"))
    old = optuna.create_study(study_name="tiny@frames", storage=opened, direction="maximize")
    chosen = space.load("tiny", tmp_path / "spaces")
    session(tmp_path).store(old)
    for number, (widths, alpha) in enumerate((("8", 0.7), ("4", 0.5), ("4", 0.5))):
        params = {"cls_head.widths": widths, "alpha": alpha}
        fixed = FixedTrial(params)
        kept = {"recipe": replace(chosen(fixed), seed=32 + (number == 2)).to_json(), "weights": "random-0", "epoch": 3}
        old.add_trial(
            optuna.create_trial(
                state=TrialState.PRUNED if number == 1 else TrialState.COMPLETE,
                value=number / 10,
                params=params,
                distributions=fixed.distributions,
                intermediate_values={10: number / 10},
                user_attrs=kept,
            )
        )
    return old


def session(folder: Path, **given: Any) -> Session:
    chosen = space.load("tiny", folder / "spaces")
    return open_session(chosen, None, data=folder / "frames", **given)


def take_over(folder: Path, mine: optuna.Study, old: optuna.Study, **given: object) -> tuple[int, list[str]]:
    return queue.take_over(session(folder, **given).store(mine), old, lambda _: "random-0")


def taken(
    folder: Path, old: optuna.Study, weights: str = "random-0", **given: object
) -> tuple[optuna.Study, list[str]]:
    """A new study and why trials of the old one did not fit."""
    new = optuna.create_study(study_name="new", storage=storage.of(old), direction="maximize")
    mine = session(folder, **given).store(new)
    count, others = queue.take_over(mine, old, lambda _: weights)
    assert count + len(others) == 3
    queue.queue_first(mine)
    return new, others


def test_trials_that_fit_are_taken_over_once_and_whole(tmp_path: Path, old: optuna.Study) -> None:
    (tmp_path / "spaces" / "tiny.py").write_text(SPACE.replace("0.9", "0.95"))  # wider: all fit
    new, others = taken(tmp_path, old)
    assert others == []
    for mine, theirs in zip(new.trials, old.trials, strict=True):  # and no second baseline
        assert (mine.params, mine.value, mine.state) == (theirs.params, theirs.value, theirs.state)
        assert mine.intermediate_values == theirs.intermediate_values
        assert mine.user_attrs["copied_from"] == f"tiny@frames {theirs.number}"
    assert take_over(tmp_path, new, old) == (0, [])


def test_a_training_that_comes_back_from_a_copy_is_no_second_seed(tmp_path: Path, old: optuna.Study) -> None:
    new, _ = taken(tmp_path, old)
    assert take_over(tmp_path, old, new) == (0, [])
    assert len(old.trials) == 3


def test_a_training_of_an_older_version_is_no_second_seed(tmp_path: Path, old: optuna.Study) -> None:
    new = optuna.create_study(study_name="new", storage=storage.of(old), direction="maximize")
    session(tmp_path).store(new)
    for trial in old.trials:
        trial.system_attrs[RECIPE] = older(trained(trial))
        new.add_trial(trial)
    assert take_over(tmp_path, new, old) == (0, [])


def test_a_space_that_asks_for_the_seed_takes_trials_over_by_theirs(tmp_path: Path, old: optuna.Study) -> None:
    (tmp_path / "spaces" / "tiny.py").write_text(SEEDED)
    new, others = taken(tmp_path, old)
    assert others == []
    assert [trial.params["seed"] for trial in new.trials] == [32, 32, 33]
    assert all(trial.params["seed"] == trained(trial)["seed"] for trial in new.trials)


def test_trials_that_do_not_fit_stay_behind_with_their_reason(tmp_path: Path, old: optuna.Study) -> None:
    (tmp_path / "spaces" / "tiny.py").write_text(SPACE.replace("0.5", "0.6"))  # narrower
    new, others = taken(tmp_path, old)
    assert [trial.params["cls_head.widths"] for trial in new.trials] == ["8"]
    file = tmp_path / "spaces" / "tiny.py"
    reason = f"{file}: a recipe with alpha=0.5 is not in the space; it must be from 0.6 to 0.9"
    assert others == [f"trial {number}: {reason}" for number in (1, 2)]


@pytest.mark.parametrize(
    ("given", "weights", "reason"),
    [({"overrides": {"epochs": "3"}}, "random-0", "cannot give"), ({}, "other", "the weights of squeezenet1_1 are")],
)
def test_other_epochs_or_weights_fit_no_trial(
    tmp_path: Path, old: optuna.Study, given: dict[str, object], weights: str, reason: str
) -> None:
    new, others = taken(tmp_path, old, weights, **given)
    assert len(others) == 3
    assert all(reason in line for line in others)
    assert [trial.state for trial in new.trials] == [TrialState.WAITING]  # its own baseline


def test_a_study_of_other_views_has_nothing_to_give(tmp_path: Path, old: optuna.Study) -> None:
    with pytest.raises(MilairError, match="made with other views: 12, now 3; none of its trials fit"):
        taken(tmp_path, old, views=3)


def test_two_searches_that_begin_at_once_make_one_study(tmp_path: Path, old: optuna.Study) -> None:
    with pytest.raises(MilairError, match="was made with other overrides"):
        session(tmp_path, overrides={"epochs": "9"}).store(old)
    assert study.stored_settings(old) == settings(tmp_path)


def test_a_study_that_minimizes_or_trains_several_at_once_is_refused(tmp_path: Path) -> None:
    make(tmp_path)
    made = tiny_objective(tmp_path)
    with pytest.raises(MilairError, match="is to be maximized"):
        made(optuna.create_study(direction="minimize").ask())
    made._busy.acquire()
    with pytest.raises(MilairError, match="one trial at a time"):
        made(optuna.create_study(direction="maximize").ask())


def edit(folder: Path, row: int, old: str, new: str) -> Path:
    table = folder / "frames" / "train.csv"
    lines = table.read_text().splitlines()
    lines[row] = lines[row].replace(old, new)
    table.write_text("\n".join(lines) + "\n")
    return table


def test_an_edited_label_ends_a_search_with_file_and_row_and_nothing_of_it_is_in_the_study(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = make(tmp_path)
    table = tmp_path / "frames" / "train.csv"
    name, label, *_ = table.read_text().splitlines()[5].split(",")
    other = "f16" if label != "f16" else "f15"
    tell = optuna.Study.tell

    def tell_and_edit(self: optuna.Study, *given: Any, **named: Any) -> Any:
        told = tell(self, *given, **named)
        if len(self.trials) == 2:
            edit(tmp_path, 5, label, other)
        return told

    monkeypatch.setattr(optuna.Study, "tell", tell_and_edit)
    assert search(options, "--trials", "4") == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"other frames or labels: {table}, row 6: {name} is {other} (" in said
    assert f"it was {label} (" in said
    monkeypatch.undo()
    assert [trial.state.name for trial in load(tmp_path).trials] == ["COMPLETE"] * 2
    assert search(options, "--trials", "4") == 1  # and no later search goes on with it
    assert f"{table}, row 6: {name} is {other}" in capsys.readouterr().err
    edit(tmp_path, 5, other, label)
    assert search(options, "--trials", "4") == 0
