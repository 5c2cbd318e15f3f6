"""Training crops: squares that show the whole object where the target says, drawn from the frame and a number alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from strategies import share_boxes

from milair import DenseHead, Recipe
from milair.boxes import Box
from milair.features.bank import Bank, open_bank
from milair.features.crops import Crops
from milair.frames.frame import Frame, Split
from milair.frames.pictures import Picture, look_at

CROPS = Crops(32)
RECIPE = Recipe(
    backbone="squeezenet1_1", weights="random", image_size="64x48", augmentations=2, schedule="cosine", looks=2,
    crop_size=32, cls_head=DenseHead(8, 1), reg_head=DenseHead(8, 1),
)  # fmt: skip


def frame_of(box: Box, content: bytes = bytes(32), size: tuple[int, int] = (320, 180)) -> Frame:
    return Frame(Picture(Path("picture.png"), *size, "RGB", 1, content, b""), "a", box)


@given(share_boxes(0.05), st.integers(1, 50))
def test_a_crop_shows_the_whole_object(box: Box, number: int) -> None:
    target, seen = CROPS.target(frame_of(box), number)
    assert seen == 1
    assert min(target) > -1e-4
    assert max(target) < 1 + 1e-4
    longer = max(target[2] - target[0], target[3] - target[1])
    assert 1 / 2.1 - 1e-4 < longer < 1 / 1.25 + 1e-4


def test_a_crop_follows_from_picture_box_and_number() -> None:
    box = (0.2, 0.3, 0.5, 0.6)
    one = CROPS.target(frame_of(box), 1)
    assert CROPS.target(frame_of(box), 1) == one
    others = [(frame_of(box), 2), (frame_of((0.2, 0.3, 0.5, 0.61)), 1), (frame_of(box, b"1" * 32), 1)]
    assert all(CROPS.target(*other) != one for other in others)
    assert len({CROPS.content(frame) for frame, _ in others}) == 3


@pytest.mark.parametrize("number", range(1, 9))
def test_the_object_is_where_the_target_says(number: int, tmp_path: Path) -> None:
    """A white rectangle on grey, found in the crop by its pixels; mirrored in about half of them."""
    pixels = np.full((180, 320, 3), 60, dtype=np.uint8)
    pixels[60:100, 120:200] = 255
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    frame = Frame(look_at(tmp_path / "picture.png"), "a", (120 / 320, 60 / 180, 200 / 320, 100 / 180))
    shown, (target, _) = Crops(128).show(frame, number), Crops(128).target(frame, number)
    ys, xs = np.nonzero((shown[0] > 0.62).numpy())
    assert shown.shape == (3, 128, 128)
    assert [xs.min() / 128, ys.min() / 128, (xs.max() + 1) / 128, (ys.max() + 1) / 128] == pytest.approx(
        target, abs=0.02
    )


def load(split: Split, folder: Path, recipe: Recipe = RECIPE, views: int = 3) -> Bank:
    frames, device = split.train + split.val, torch.device("cpu")
    return open_bank(recipe, split, "ab", frames=frames, views=views, source="", folder=folder, device=device)


def test_a_bank_for_two_looks_holds_crops_and_the_next_one_finds_them(small_split: Split, tmp_path: Path) -> None:
    bank = load(small_split, tmp_path)
    assert bank.computed == 14 * 4 + 14 * 3
    assert bank.second is not None
    assert bank.extract is not None
    train = bank.second.train
    assert train.index.shape == (4, 10)
    assert torch.equal(train.index[0], train.index[1])
    for number in (1, 3):
        frame = small_split.train[5]
        shown = Crops(32).show(frame, number)
        expected = bank.extract(shown[None])[0]
        assert torch.equal(train.rows[train.index[number, 5]], expected)
        assert train.boxes[number, 5].tolist() == pytest.approx(Crops(32).target(frame, number)[0])
    assert load(small_split, tmp_path).computed == 0
    assert load(Split(small_split.train[::-1], small_split.val), tmp_path).computed == 0
    assert load(small_split, tmp_path, views=4).computed == 14 + 14
    assert load(small_split, tmp_path, replace(RECIPE, crop_size=40)).computed == 14 * 3


def test_an_edited_box_has_crops_of_its_own_and_the_same_views(small_split: Split, tmp_path: Path) -> None:
    load(small_split, tmp_path)
    first, *others = small_split.train
    edited = Split((replace(first, box=(0.1, 0.1, 0.5, 0.5)), *others), small_split.val)
    assert load(edited, tmp_path).computed == 3


def test_one_look_needs_no_crops(small_split: Split, tmp_path: Path) -> None:
    assert load(small_split, tmp_path, replace(RECIPE, looks=1)).second is None


def test_looked_at(tmp_path: Path) -> None:
    """A picture in grey is cropped as RGB."""
    Image.new("L", (40, 30), 128).save(tmp_path / "grey.png")
    frame = Frame(look_at(tmp_path / "grey.png"), "a", (0.2, 0.2, 0.8, 0.8))
    assert Crops(32).show(frame, 1).shape == (3, 32, 32)
