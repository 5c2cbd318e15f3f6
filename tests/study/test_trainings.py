"""Seeds, folds and trials trained again by several workers: the models that one process makes, whoever trains them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from faults import Place
from safetensors.numpy import load_file
from tiny import make, search

from milair import retrain
from milair.study.trainings import by_workers, here, outcomes
from milair.training.values import Epoch, Training
from milair.workers import local


def models(folder: Path, name: str) -> dict[str, tuple[object, object]]:
    """What is in each model's folder, by what follows its name."""
    return {
        place.name.removeprefix(name): (
            {key: value.tobytes() for key, value in load_file(place / "model.safetensors").items()},
            json.loads((place / "model.json").read_text()),
        )
        for place in folder.glob(f"{name}*")
    }


@pytest.mark.parametrize(
    ("split", "more", "count"),
    [("stratified", ("--top", "2", "--seeds", "2", "--flip"), 5), ("folds:2", (), 3), ("folds:2", ("--on", "all"), 1)],
)
def test_two_workers_make_the_same_models(
    split: str, more: Sequence[str], count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert search([*make(tmp_path), "--split", split, "--confirm", "1"], "--trials", "2", "--pruner", "none") == 0
    said = []
    for name, devices in (("one", "cpu"), ("two", "cpu,cpu")):
        words = ("--study", "tiny", "--studies", str(tmp_path / "studies"), "--out", str(tmp_path / name))
        capsys.readouterr()
        assert retrain.main([*words, *more, "--devices", devices]) == 0
        said.append(capsys.readouterr().out.replace(str(tmp_path / name), ""))
    one, two = (models(tmp_path, name) for name in ("one", "two"))
    assert len(one) == count
    assert one == two
    differences = [line for line in said[1].splitlines() if "largest difference" in line]
    assert differences == ([] if "all" in more else ["largest difference from the trial's own metrics: 0.0e+00"])
    assert [line for line in said[0].splitlines() if "seed" in line] == [
        line for line in said[1].splitlines() if "seed" in line
    ]


def test_a_training_whose_worker_dies_comes_to_the_same(tmp_path: Path) -> None:
    place, said = Place(tmp_path), list[str]()
    session, trainer = place.objective().session, place.trainer()
    recipe = session.space.baseline
    trainings = [
        Training(replace(recipe, seed=seed, epochs=20), session.splits(seed)[0], "best", 1) for seed in range(32, 35)
    ]
    with local.Workers(["cpu", "cpu"], 1) as pool:
        pool.begin()
        pool.start(trainer.inputs)

        def listen(what: str, done: int, total: int, score: float | None, worker: str) -> None:
            if score is not None and not said:
                pool.processes[worker].popen.kill()
                said.append(f"{what} {done} of {total}")

        by_two = list(outcomes(by_workers(pool, said.append), trainings, listen))
    assert len(said) == 2
    assert "(killed by SIGKILL); another starts" in said[1]
    for outcome, alone in zip(by_two, outcomes(here(trainer), trainings, lambda *_: None), strict=True):
        assert [told(epoch) for epoch in outcome.epochs] == [told(epoch) for epoch in alone.epochs]
        for heads, others in zip(outcome.trained.heads, alone.trained.heads, strict=True):
            assert {name: value.tobytes() for name, value in heads.items()} == {
                name: value.tobytes() for name, value in others.items()
            }
        assert outcome.trained.boxes.tobytes() == alone.trained.boxes.tobytes()


def told(epoch: Epoch) -> Epoch:
    """An epoch but for how long it took."""
    return replace(epoch, seconds=0.0, memory=(0.0, 0.0))


def test_options_that_do_not_go_together_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert search(make(tmp_path), "--trials", "1", "--set", "epochs=1") == 0
    for more, reason in (
        (("--devices", "cpu,cpu", "--unfreeze", "1"), "--unfreeze trains the backbone in this process"),
        (("--devices", "cpu", "--ship"), "are for --engine ray"),
        (("--devices", "cpu", "--engine", "ray"), "with --engine ray the nodes say what they have"),
    ):
        assert retrain.main(["--study", "tiny", "--studies", str(tmp_path / "studies"), *more]) == 2
        assert reason in capsys.readouterr().err
