"""Views: drawn from nothing but their numbers; what is done to the picture is done to its box."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import pixel_boxes, share_boxes
from torch import Tensor
from torch.nn import functional

from milair.boxes import Box, to_shares
from milair.features.views import View, apply, move, view

contents = st.binary(min_size=32, max_size=32)  # hashes of picture files
views = st.builds(view, contents, st.integers(0, 1000), st.integers(0, 2**31))
DRAWS = [view(picture.to_bytes(8, "big"), number) for picture in range(400) for number in range(1, 11)]


def noise(seed: int = 0, height: int = 15, width: int = 20) -> Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def geometry(shown: View) -> View:
    """The view without its changes of light."""
    return replace(shown, brightness=0.0, contrast=1.0, blur=False)


def overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    both = max(width, 0) * max(height, 0)
    return both / (sum(areas) - both)


@given(contents, st.integers(1, 1000), st.integers(0, 2**31))
def test_a_view_depends_on_picture_number_and_seed_and_on_nothing_else(picture: bytes, number: int, seed: int) -> None:
    first = view(picture, number, seed)
    np.random.rand(3)
    assert view(picture, number, seed) == first


def test_pictures_numbers_and_seeds_have_views_of_their_own() -> None:
    keys = [
        (picture, number, seed)
        for picture in (bytes(32), bytes(7) + b"1")
        for number in range(1, 40)
        for seed in (32, 33)
    ]
    drawn = {view(*key) for key in keys}
    plain = sum(view(*key) == View() for key in keys)
    assert len(drawn) > 0.75 * len(keys)  # one in eight is only flipped or blurred, or neither
    assert plain < 0.25 * len(keys)


@given(contents, st.integers(0, 2**31))
def test_number_0_is_the_plain_picture(picture: bytes, seed: int) -> None:
    shown = view(picture, 0, seed)
    assert shown == View()
    assert torch.equal(apply(shown, noise()), noise())


def test_each_change_comes_with_probability_one_half() -> None:
    changes = {
        "flip": [drawn.flip for drawn in DRAWS],
        "light": [drawn.brightness != 0 or drawn.contrast != 1 for drawn in DRAWS],
        "move": [drawn.scale != 1 for drawn in DRAWS],
        "blur": [drawn.blur for drawn in DRAWS],
    }
    for name, came in changes.items():
        assert np.mean(came) == pytest.approx(0.5, abs=0.03), name  # 4000 draws: 0.03 is 3.8 standard deviations
    together = np.corrcoef(np.array(list(changes.values()), float))
    assert np.abs(together - np.eye(4)).max() < 0.07


@pytest.mark.parametrize(
    ("name", "centre", "reach"),
    [("brightness", 0, 0.2), ("contrast", 1, 0.2), ("shift_x", 0, 0.0625), ("shift_y", 0, 0.0625), ("scale", 1, 0.1)],
)
def test_amounts_are_uniform_in_their_range(name: str, centre: float, reach: float) -> None:
    amounts = np.array([getattr(drawn, name) for drawn in DRAWS]) - centre
    amounts = amounts[amounts != 0] / reach
    assert np.abs(amounts).max() <= 1 + 1e-9
    quantiles = np.quantile(amounts, [0.01, 0.25, 0.5, 0.75, 0.99])
    assert quantiles == pytest.approx([-0.98, -0.5, 0, 0.5, 0.98], abs=0.08)


@given(views, st.integers(0, 99))
def test_pixels_stay_in_0_to_1_and_the_picture_itself_as_it_was(shown: View, seed: int) -> None:
    picture = noise(seed)
    result = apply(shown, picture)
    assert result.shape == picture.shape
    assert result.min() >= 0
    assert result.max() <= 1
    assert torch.equal(picture, noise(seed))


@given(st.data(), views)
def test_the_box_goes_where_the_picture_shows_it(data: st.DataObject, shown: View) -> None:
    width, height, margin = 200, 160, 36
    xmin, ymin, xmax, ymax = data.draw(pixel_boxes(width - 2 * margin - 50, height - 2 * margin - 50))
    box = (xmin + margin, ymin + margin, xmax + margin + 50, ymax + margin + 50)
    picture = torch.zeros(3, height, width)
    picture[:, box[1] : box[3], box[0] : box[2]] = 1
    lit = (apply(geometry(shown), picture)[0] > 0.5).nonzero()
    found = (lit[:, 1].min().item(), lit[:, 0].min().item(), lit[:, 1].max().item() + 1, lit[:, 0].max().item() + 1)
    moved, seen = move(shown, to_shares(box, width, height))
    assert overlap(moved, to_shares(found, width, height)) > 0.95
    assert seen == pytest.approx(1)


@given(views, share_boxes())
def test_a_moved_box_lies_in_the_picture_and_its_share_tells_what_was_cut_off(shown: View, box: Box) -> None:
    (xmin, ymin, xmax, ymax), seen = move(shown, box)
    assert 0 <= xmin <= xmax <= 1
    assert 0 <= ymin <= ymax <= 1
    whole = (box[2] - box[0]) * (box[3] - box[1]) * shown.scale**2
    assert (xmax - xmin) * (ymax - ymin) == pytest.approx(seen * whole, abs=1e-9)
    assert 0 <= seen <= 1 + 1e-9


@given(share_boxes())
def test_the_plain_view_leaves_a_box_where_it_is(box: Box) -> None:
    moved, seen = move(View(), box)
    assert moved == pytest.approx(box)
    assert seen == pytest.approx(1)


def test_boxes_by_hand() -> None:
    assert move(View(flip=True), (0.1, 0.2, 0.3, 0.6))[0] == pytest.approx((0.7, 0.2, 0.9, 0.6))
    assert move(View(scale=1.1), (0.25, 0.25, 0.75, 0.75))[0] == pytest.approx((0.225, 0.225, 0.775, 0.775))
    assert move(View(flip=True, shift_x=0.0625), (0, 0, 0.25, 1))[0] == pytest.approx((0.8125, 0, 1, 1))
    assert move(View(flip=True, shift_x=0.0625), (0, 0, 0.25, 1))[1] == pytest.approx(0.75)
    assert move(View(shift_x=-0.05), (0.0, 0.4, 0.04, 0.6))[1] == 0  # the object has left the view
    assert move(View(brightness=0.1, contrast=0.9, blur=True), (0.1, 0.2, 0.3, 0.6))[0] == pytest.approx(
        (0.1, 0.2, 0.3, 0.6)
    )


def test_brightness_and_contrast_against_their_closed_form() -> None:
    picture = noise()
    assert torch.allclose(apply(View(brightness=0.15), picture), (picture + 0.15).clamp(0, 1))
    assert torch.allclose(apply(View(contrast=0.8), picture), picture * 0.8)
    assert torch.allclose(apply(View(brightness=-0.2, contrast=1.2), picture), (picture * 1.2 - 0.2).clamp(0, 1))


def test_blur_is_the_mean_of_a_pixel_and_its_neighbours_inside_the_picture() -> None:
    picture = noise(height=6, width=5)
    result = apply(View(blur=True), picture)
    for y in range(6):
        for x in range(5):
            around = picture[:, max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2]
            assert torch.allclose(result[:, y, x], around.mean((1, 2)), atol=1e-6)


def test_a_flip_and_a_shift_by_whole_pixels_move_pixels_unchanged() -> None:
    picture = noise(height=16, width=20)
    assert torch.allclose(apply(View(flip=True), picture), picture.flip(2), atol=1e-5)
    shifted = functional.pad(picture, (1, 0, 0, 0), mode="replicate")[:, :, :-1]  # beyond the edge it goes on as there
    assert torch.allclose(apply(View(shift_x=1 / 20), picture), shifted, atol=1e-5)
    raised = functional.pad(picture, (0, 0, 0, 1), mode="replicate")[:, 1:]
    assert torch.allclose(apply(View(shift_y=-1 / 16), picture), raised, atol=1e-5)


def test_scale_enlarges_about_the_centre() -> None:
    x = (torch.arange(40) + 0.5) / 40
    ramp = x.expand(3, 30, 40)
    shown = apply(View(scale=1.1), ramp)
    assert torch.allclose(shown, ((x - 0.5) / 1.1 + 0.5).expand_as(ramp), atol=1e-5)
