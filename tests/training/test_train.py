"""Training: the same numbers from the same seed, whatever else goes on; and the arithmetic of an epoch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import pytest
import torch
from banks import CPU, RECIPE, SHAPE, bank, contrary, part, weights
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from milair import ConvHead, LinearHead
from milair.errors import MilairError
from milair.features.bank import Bank, Part
from milair.model.heads import Heads
from milair.training import metrics
from milair.training.outputs import evaluate
from milair.training.train import draw, new_heads, train
from milair.training.values import Epoch, Metrics

PLAIN = replace(RECIPE, cls_head=ConvHead(0), reg_head=ConvHead(0))  # no BatchNorm, no dropout: batches do not matter


def numbers(epoch: Epoch) -> tuple[int, int, Metrics, Metrics, Metrics, int]:
    return epoch.number, epoch.passes, epoch.train, epoch.val, epoch.best, epoch.best_number


def test_the_same_seed_gives_the_same_epochs_bit_for_bit() -> None:
    (first,), (second,) = looks = [new_heads(RECIPE, bank(), CPU) for _ in range(2)]
    epochs = [[numbers(epoch) for epoch in train(RECIPE, bank(), CPU, heads)] for heads in looks]
    assert epochs[0] == epochs[1] == [numbers(epoch) for epoch in train(RECIPE, bank(), CPU)]
    theirs = weights(second)
    assert all(torch.equal(value, theirs[name]) for name, value in weights(first).items())


@pytest.mark.parametrize(
    ("reg_head", "losses"),
    [
        (ConvHead(1, 8), [0.7898, 0.5957, 0.4979, 0.4486, 0.3970]),
        (LinearHead("8-4"), [0.8265, 0.7175, 0.6378, 0.5877, 0.4744]),
    ],
)
def test_a_recipe_trains_as_it_did(reg_head: LinearHead | ConvHead, losses: list[float]) -> None:
    """If this fails and is meant to, milair.study.settings.TRAINING is one more: studies from before do not go on."""
    epochs = list(train(replace(RECIPE, reg_head=reg_head, seed=32), bank(), CPU))
    found = [*(epoch.train.loss for epoch in epochs), epochs[-1].val.loss]
    assert found == pytest.approx(losses, abs=0.003)  # threads alone make 0.0003


def test_an_epoch_of_more_views_than_the_bank_holds_is_refused() -> None:
    with pytest.raises(MilairError, match="an epoch of 99 views cannot be drawn from a bank of"):
        next(train(replace(RECIPE, augmentations=99), bank(), CPU))


def test_another_seed_gives_other_epochs() -> None:
    first, second = (list(train(replace(RECIPE, seed=seed), bank(), CPU)) for seed in (1, 2))
    assert all(one.train != other.train for one, other in zip(first, second, strict=True))


def test_what_the_process_draws_in_between_does_not_matter() -> None:
    undisturbed = [numbers(epoch) for epoch in train(RECIPE, bank(), CPU)]
    disturbed = []
    for epoch in train(RECIPE, bank(), CPU):
        disturbed.append(numbers(epoch))
        torch.manual_seed(epoch.number)
        torch.rand(epoch.number)
    assert disturbed == undisturbed


def test_two_trainings_side_by_side_do_not_touch_each_other() -> None:
    recipes = RECIPE, replace(RECIPE, seed=7, reg_head=LinearHead("4"))
    alone = [[numbers(epoch) for epoch in train(recipe, bank(), CPU)] for recipe in recipes]
    both = zip(*(train(recipe, bank(), CPU) for recipe in recipes), strict=True)
    assert [list(epochs) for epochs in zip(*(map(numbers, pair) for pair in both), strict=True)] == alone


def test_training_leaves_the_random_numbers_of_others_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    list(train(RECIPE, bank(), CPU))
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("head", [LinearHead("16"), ConvHead(1, 16), ConvHead(0)])
def test_a_separable_problem_is_learned(head: LinearHead | ConvHead) -> None:
    recipe = replace(RECIPE, cls_head=head, reg_head=head, epochs=60, patience=60, learning_rate=0.02)
    epochs = list(train(recipe, bank(), CPU))
    assert epochs[-1].best.accuracy == 1
    assert epochs[-1].best.iou > 0.8
    assert epochs[-1].best.loss < 0.4 * epochs[0].val.loss
    assert epochs[-1].score > 0.9


@given(st.data(), st.integers(2, 12), st.integers(1, 6), st.integers(2, 15))
def test_an_epoch_sees_each_picture_in_so_many_different_views(
    data: st.DataObject, count: int, views: int, batch_size: int
) -> None:
    augmentations = data.draw(st.integers(1, views))
    batches = list(draw(part(count, views, 0), augmentations, batch_size))
    drawn = [pair for batch in batches for pair in zip(*(indices.tolist() for indices in batch), strict=True)]
    assert len(set(drawn)) == len(drawn) == count * augmentations
    assert Counter(picture for _, picture in drawn) == dict.fromkeys(range(count), augmentations)
    assert {view for view, _ in drawn} <= set(range(1, views + 1))
    sizes = [len(picture) for _, picture in batches]
    assert min(sizes) >= 2
    assert max(sizes[:-1], default=batch_size) == batch_size == min(sizes[:-1], default=batch_size)
    assert sizes[-1] <= batch_size + 1


def test_epochs_draw_all_views_equally_often_and_in_an_order_of_their_own() -> None:
    torch.manual_seed(0)
    epochs = [torch.cat([torch.stack(batch) for batch in draw(part(20, 5, 0), 2, 8)], 1) for _ in range(200)]
    assert not torch.equal(epochs[0], epochs[1])
    views = Counter(torch.cat(epochs, 1)[0].tolist())
    assert all(abs(views[view] / (200 * 20 * 2) - 1 / 5) < 0.02 for view in range(1, 6))
    first = Counter(epoch[1, 0].item() for epoch in epochs)
    assert len(first) > 15  # any of the 20 pictures may come first


def test_a_view_that_hides_the_object_is_replaced_by_the_plain_picture() -> None:
    whole = part(10, 3, 0)
    seen = whole.seen.clone()
    seen[2, 4] = seen[1, 7] = seen[3, 7] = False
    drawn = [
        pair
        for batch in draw(replace(whole, seen=seen), 3, 8)
        for pair in zip(*(indices.tolist() for indices in batch), strict=True)
    ]
    expected = Counter({(view, picture): 1 for view in (1, 2, 3) for picture in range(10)})
    expected -= Counter([(2, 4), (1, 7), (3, 7)])
    expected += Counter([(0, 4), (0, 7), (0, 7)])
    assert Counter(drawn) == expected


def test_a_last_batch_of_one_joins_the_one_before_for_batchnorms_sake() -> None:
    sizes = [len(pictures) for _, pictures in draw(part(9, 1, 0), 1, 4)]
    assert sizes == [4, 5]
    list(train(replace(RECIPE, augmentations=1, batch_size=4, epochs=1), bank(count=9, views=1), CPU))


@pytest.mark.parametrize("patience", [1, 3])
def test_patience_ends_a_training_that_gets_no_better(patience: int) -> None:
    epochs = list(train(replace(RECIPE, alpha=0.0, epochs=80, patience=patience), contrary(), CPU))
    assert epochs[-1].number - epochs[-1].best_number == patience
    assert all(epoch.number - epoch.best_number < patience for epoch in epochs[:-1])
    assert len(epochs) < 80


@pytest.mark.parametrize("data", [bank(), contrary()])
def test_best_is_validation_at_the_lowest_loss_so_far(data: Bank) -> None:
    epochs = list(train(replace(RECIPE, epochs=12, patience=12), data, CPU))
    assert [epoch.number for epoch in epochs] == list(range(1, 13))
    for epoch in epochs:
        best = min(epochs[: epoch.number], key=lambda one: one.val.loss)
        assert (epoch.best, epoch.best_number) == (best.val, best.number)
        assert epoch.improved == (best is epoch)
        assert epoch.score == (best.val.iou + best.val.accuracy) / 2
        assert epoch.passes == 2 * epoch.number
        assert epoch.seconds > 0


def test_gradients_are_clipped_to_norm_1() -> None:
    steep = bank()
    steep = replace(steep, train=replace(steep.train, rows=steep.train.rows * 1000))
    (heads,) = looks = new_heads(PLAIN, steep, CPU)
    for epoch in train(PLAIN, steep, CPU, looks):
        gradients = [parameter.grad for parameter in heads.parameters() if parameter.grad is not None]
        norm = torch.cat([gradient.flatten() for gradient in gradients]).norm().item()
        if epoch.number == 1:
            assert norm == pytest.approx(1, abs=1e-4)
        assert norm <= 1 + 1e-4


def rows(heads: Heads, data: Part, view: int) -> Tensor:
    with torch.no_grad():
        logits, boxes = heads(data.rows[data.index[view]])
        return metrics.per_image(logits, boxes, data.labels, data.boxes[view])


@pytest.mark.parametrize("batch_size", [4, 5, 20])
def test_training_metrics_are_weighed_by_image(batch_size: int) -> None:
    """Nothing is learned at this rate and all views are drawn, so that the epoch's rows are known."""
    data = bank(count=7, views=3)
    data = replace(data, train=part(7, 3, 0, noise=2.0))
    recipe = replace(PLAIN, augmentations=3, batch_size=batch_size, learning_rate=1e-12, weight_decay=0, epochs=1)
    (heads,) = looks = new_heads(recipe, data, CPU)
    (epoch,) = train(recipe, data, CPU, looks)
    expected = metrics.mean(torch.cat([rows(heads, data.train, view) for view in (1, 2, 3)]), recipe.alpha)
    for name, value in expected.to_json().items():
        assert epoch.train.to_json()[name] == pytest.approx(value, abs=1e-6), name
    assert epoch.train.accuracy * 21 == pytest.approx(round(epoch.train.accuracy * 21))


def test_an_evaluation_in_several_passes_is_weighed_by_image() -> None:
    heads = Heads(RECIPE, SHAPE, 3)
    data = part(1030, 0, 3, noise=2.0)
    found = evaluate(heads, data).metrics(data, 0.3)
    assert found.to_json() == pytest.approx(metrics.mean(rows(heads.eval(), data, 0), 0.3).to_json(), abs=1e-6)


def test_evaluation_is_of_plain_pictures_without_dropout_and_changes_nothing() -> None:
    heads = Heads(RECIPE, SHAPE, 3).train()
    before = weights(heads)
    data = part(12, 2, 0)
    first = evaluate(heads, data).metrics(data, 0.5)
    changed = data.rows.clone()
    changed[data.index[1:]] = 99
    assert evaluate(heads, replace(data, rows=changed)).metrics(replace(data, rows=changed), 0.5) == first
    after = weights(heads)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_validation_metrics_are_those_of_the_live_heads() -> None:
    data = bank()
    (heads,) = looks = new_heads(RECIPE, data, CPU)
    for epoch in islice(train(RECIPE, data, CPU, looks), 3):
        outputs = evaluate(heads, data.val)
        assert outputs.metrics(data.val, RECIPE.alpha) == epoch.val
        assert epoch.outputs == outputs.rows()


def test_training_is_lazy_and_stops_at_epochs() -> None:
    epochs = train(replace(RECIPE, epochs=2), bank(), CPU)
    assert isinstance(epochs, Iterator)
    assert [epoch.number for epoch in epochs] == [1, 2]
