"""The second look: where crops lie, what they show, and that what is found there lies where it is in the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image
from strategies import share_boxes

from milair import Recipe
from milair.boxes import Box
from milair.model.cascade import both, cut, cut_about, decide, from_crop, mirrored, square, to_crop

sizes = st.tuples(st.integers(40, 300), st.integers(40, 300))


@given(share_boxes(0.1), sizes, st.floats(1, 3))
def test_a_crop_is_a_square_of_pixels_about_the_box(box: Box, size: tuple[int, int], margin: float) -> None:
    (crop,) = square(torch.tensor([box]), torch.tensor([size]), margin)
    width, height = ((crop[2:] - crop[:2]) * torch.tensor(size)).tolist()
    longer = max((box[2] - box[0]) * size[0], (box[3] - box[1]) * size[1])
    assert width == pytest.approx(height, rel=1e-4)
    assert width == pytest.approx(max(longer * margin, 16), rel=1e-4)
    assert ((crop[:2] + crop[2:]) / 2).tolist() == pytest.approx(
        [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2], abs=1e-5
    )


def test_a_box_beyond_the_picture_or_without_size_still_has_a_crop_that_meets_the_picture() -> None:
    boxes = torch.tensor([[-3.0, -3.0, -2.0, -2.0], [0.9, 0.9, 5.0, 5.0], [0.5, 0.5, 0.5, 0.5]])
    picture = Image.new("RGB", (64, 48), "red")
    for crop in square(boxes, torch.tensor([[64, 48]] * 3), 1.5).tolist():
        assert (cut(picture, crop, 8) == torch.tensor([255, 0, 0], dtype=torch.uint8)[:, None, None]).all()


@given(share_boxes(), share_boxes(0.05))
def test_to_a_crop_and_back(box: Box, crop: Box) -> None:
    boxes, crops = torch.tensor([box], dtype=torch.float64), torch.tensor([crop], dtype=torch.float64)
    assert torch.allclose(from_crop(to_crop(boxes, crops), crops), boxes)


@given(share_boxes())
def test_a_mirrored_box_is_one_mirrored_back(box: Box) -> None:
    boxes = torch.tensor([box], dtype=torch.float64)
    assert torch.allclose(mirrored(mirrored(boxes)), boxes)
    assert (mirrored(boxes)[:, :2] < mirrored(boxes)[:, 2:]).all()


def test_a_crop_inside_the_picture_is_pillows_own() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    expected = picture.crop((10, 20, 40, 50)).resize((16, 16), Image.Resampling.BILINEAR)
    shown = cut(picture, (10 / 80, 20 / 60, 40 / 80, 50 / 60), 16)
    assert np.array_equal(shown.permute(1, 2, 0).numpy(), np.asarray(expected))


def test_beyond_its_edge_a_picture_goes_on_as_at_its_edge() -> None:
    pixels = np.zeros((20, 20, 3), dtype=np.uint8)
    pixels[:, 0] = 200
    shown = cut(Image.fromarray(pixels), (-1, 0.25, 1, 0.75), 40)
    assert shown.shape == (3, 40, 40)
    assert (shown[:, :, :19] == 200).all()
    assert (shown[:, :, 22:] == 0).all()


@given(share_boxes(0.3), st.floats(1.2, 2.5))
def test_the_object_is_where_its_box_says(box: Box, margin: float) -> None:
    """A white rectangle on black, found in the crop by its pixels, plain and mirrored."""
    width, height = 240, 180
    left, top, right, bottom = (round(side * scale) for side, scale in zip(box, (width, height) * 2, strict=True))
    assume(left > 0 and top > 0 and right < width and bottom < height)  # beyond an edge, what touches it goes on
    pixels = np.zeros((height, width, 3), dtype=np.uint8)
    pixels[top:bottom, left:right] = 255
    exact = torch.tensor([[left / width, top / height, right / width, bottom / height]])
    recipe = Recipe(crop_size=96, crop_margin=margin)
    shown, crops = cut_about([Image.fromarray(pixels)], exact, recipe)
    shown = both(shown)
    inside = to_crop(exact, crops)
    for picture, expected in zip(shown, (inside[0], mirrored(inside)[0]), strict=True):
        ys, xs = np.nonzero((picture[0] > 0.5).numpy())
        seen = [xs.min() / 96, ys.min() / 96, (xs.max() + 1) / 96, (ys.max() + 1) / 96]
        assert seen == pytest.approx(expected.tolist(), abs=1.5 / 96)


def test_mirror_images_follow_the_pictures() -> None:
    pictures = torch.rand(2, 3, 4, 5)
    assert torch.equal(both(pictures)[:2], pictures)
    assert torch.equal(both(pictures)[2:].flip(3), pictures)


def test_whose_class_counts() -> None:
    first, second = torch.tensor([[0.2, 0.8]]), torch.tensor([[0.6, 0.4]])
    decided = [decide(first, second, Recipe(decides=whose)) for whose in ("first", "second", "mean")]
    assert torch.allclose(torch.cat(decided), torch.tensor([[0.2, 0.8], [0.6, 0.4], [0.4, 0.6]]))
