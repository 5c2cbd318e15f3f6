"""The benchmarks do the same work on both sides, and say what they measured."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ideas
import pytest
import run
import searches
import tiny
import torch
import trial
import views
from lines import Line, table, turns
from optuna.trial import create_trial

from milair import space
from milair.frames.frame import Frames
from milair.frames.split import split
from milair.model.heads import Heads
from milair.recipe import ConvHead, DenseHead, LinearHead, Recipe
from milair.study.kept import RECIPE as RECIPE_KEPT
from milair.study.session import read_frames

RECIPE = replace(
    Recipe(),
    backbone="squeezenet1_1",
    weights="random",
    image_size="64x48",
    augmentations=2,
    cls_head=LinearHead("4"),
    reg_head=LinearHead("4"),
)


@pytest.fixture(scope="module")
def frames() -> Frames:
    return read_frames(str(tiny.frames()))


def test_loops_see_what_the_bank_holds(frames: Frames, tmp_path: Path) -> None:
    parts, bank = trial.opened(RECIPE, frames, "random", str(tmp_path), "cpu", views=2)
    for loop in trial.loops(RECIPE, parts, bank, "random"):
        for index in (0, len(parts.train) + 3):  # the first view of one picture, the second of another
            picture, label, box = loop.pictures[index]
            view, number = 1 + index // len(parts.train), index % len(parts.train)
            row = bank.train.rows[bank.train.index[view, number]]
            assert torch.allclose(loop.features(picture[None])[0], row, atol=1e-4)
            assert label == bank.train.labels[number]
            assert box.tolist() == pytest.approx(list(parts.train[number].box))
        before = [weight.clone() for weight in loop.heads.parameters()]
        loop.epoch()
        assert any(not torch.equal(*pair) for pair in zip(before, loop.heads.parameters(), strict=True))


def test_an_epoch_on_a_device_is_timed_against_the_cpu(frames: Frames, tmp_path: Path) -> None:
    _, bank = trial.opened(RECIPE, frames, "random", str(tmp_path), "cpu", views=2)
    line = trial.against_cpu(RECIPE, bank, bank, 2)
    assert len(line.ours) == len(line.theirs) == 2
    assert min(line.ours) > 0


def test_a_search_from_nothing_knows_no_good_recipe(tmp_path: Path) -> None:
    shown = space.load("beyond", searches.without_first(tmp_path / "0", 0))
    other = space.load("beyond", searches.without_first(tmp_path / "1", 1))
    published = space.load("beyond", Path("search_spaces"))
    assert not shown.references
    assert len({repr(chosen.baseline) for chosen in (shown, other, published)}) == 3
    assert shown.dimensions() == published.dimensions()


def test_the_space_of_views_varies_the_seed_alone(tmp_path: Path) -> None:
    assert list(space.load("views", views.written(tmp_path)).dimensions()) == ["seed"]


def test_a_loop_would_see_every_view_of_every_epoch(frames: Frames) -> None:
    parts = split(frames.labelled)
    trained = {RECIPE_KEPT: RECIPE.to_json()}
    done = [create_trial(value=0.5, user_attrs={"epochs": 3, "seconds": 7.0}, system_attrs=trained)] * 2
    assert searches.in_a_loop(done, parts, 0.5) == 2 * (7.0 + 3 * (2 * len(parts.train) + len(parts.val)) * 0.5)


@pytest.mark.parametrize("head", [ConvHead(1, 8), DenseHead(8, 1)])
def test_ideas_do_the_same_work(head: ConvHead | DenseHead, frames: Frames, tmp_path: Path) -> None:
    recipe = replace(RECIPE, cls_head=head, reg_head=head)
    _, bank = trial.opened(recipe, frames, "random", str(tmp_path), "cpu", views=2)
    ideas.as_one_batch(recipe, bank, 0)  # asserts that all members begin with the same losses
    assert all(len(taken) == 1 for taken in ideas.passes(recipe, bank, 1))
    features = bank.train.rows[:4]
    expected = ideas.new(Heads, recipe, bank).eval()(features)
    for kind, given in ((ideas.Half, features.half()), (ideas.Mixed, features)):
        for one, other in zip(ideas.new(kind, recipe, bank).eval()(given), expected, strict=True):
            assert torch.allclose(one, other, atol=0.02)
            assert one.dtype == torch.float32


def test_a_table_says_medians_ratios_and_their_spread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = Line("this", "that", [1.0, 2.0, 3.0], [8.0])
    assert "| this | that | 2 s (1 to 3) | 8 s | 4.00 | 3 and 1 |  |" in table([line])
    monkeypatch.setattr(run, "RESULTS", tmp_path / "results.md")
    for name in ("trial", "growth", "trial"):
        run.write(name, [line], "sample")
    assert [part.split("\n")[0] for part in (tmp_path / "results.md").read_text().split("\n## ")[1:]] == [
        "growth",
        "trial",
    ]


def test_both_are_timed_in_turns() -> None:
    order: list[str] = []
    ours, theirs = turns(lambda: order.append("ours"), lambda: order.append("theirs"), 2)
    assert order == ["ours", "theirs"] * 3
    assert len(ours) == len(theirs) == 2
