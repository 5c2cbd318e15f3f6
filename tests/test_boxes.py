"""Boxes: pixels to shares and back, and always inside the frame."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from strategies import pixel_boxes

from milair.boxes import Box, to_pixels, to_shares

sides = st.integers(1, 10_000)


@given(st.data(), sides, sides)
def test_whole_pixels_survive_shares(data: st.DataObject, width: int, height: int) -> None:
    box = data.draw(pixel_boxes(width, height))
    shares = to_shares(box, width, height)
    assert all(0 <= share <= 1 for share in shares)
    assert to_pixels(shares, width, height) == box


@given(st.tuples(*[st.floats(-2, 3)] * 4), sides, sides)
def test_pixels_are_inside_in_order_and_apart_whatever_the_model_says(box: Box, width: int, height: int) -> None:
    xmin, ymin, xmax, ymax = to_pixels(box, width, height)
    assert 0 <= xmin < xmax <= width
    assert 0 <= ymin < ymax <= height
    assert all(isinstance(side, int) for side in (xmin, ymin, xmax, ymax))


@given(st.tuples(*[st.floats(0, 1)] * 4))
def test_corners_in_the_wrong_order_mean_the_same_box(box: Box) -> None:
    xmin, ymin, xmax, ymax = box
    assert to_pixels((xmax, ymax, xmin, ymin), 1280, 720) == to_pixels(box, 1280, 720)


def test_by_hand() -> None:
    assert to_shares((320, 180, 640, 720), 1280, 720) == (0.25, 0.25, 0.5, 1.0)
    assert to_pixels((0.25, 0.25, 0.5, 1.0), 1280, 720) == (320, 180, 640, 720)
    assert to_pixels((0.5, 0.5, 0.5, 0.5), 100, 100) == (50, 50, 51, 51)
    assert to_pixels((1.0, 1.0, 1.0, 1.0), 100, 100) == (99, 99, 100, 100)
