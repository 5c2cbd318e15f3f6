"""Splits: the document's own, near-duplicates kept on one side, one that the data bring; and what cannot be split."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from milair import MilairError
from milair.check import read
from milair.frames import Frame, class_order
from milair.split import split


def made_up(*labels: str) -> list[Frame]:
    return [Frame(Path(f"{number}.png"), 80, 60, label, (0, 0, 1, 1)) for number, label in enumerate(labels)]


def test_the_documents_split_in_its_order(real_data: Path) -> None:
    frames = read(real_data)
    assert frames.classes == ("f16", "cougar", "chinook", "ah64", "f15", "seahawk")
    assert (len(frames.labelled), len(frames.unlabelled)) == (189, 63)
    halves = split(frames.labelled)
    with (real_data / "validation_split.csv").open(newline="") as file:
        documents = [row["filename"] for row in csv.DictReader(file)]
    assert [frame.path.name for frame in halves.val] == documents
    assert len(documents) == 48
    assert len(halves.train) == 141
    assert not {frame.path for frame in halves.train} & {frame.path for frame in halves.val}


def test_a_class_with_one_frame_cannot_be_split() -> None:
    with pytest.raises(MilairError, match=r"class 'b' has 1 frame; a stratified split needs at least 2"):
        split(made_up(*"aaaaaaab"))


def test_one_class_is_not_a_search() -> None:
    with pytest.raises(MilairError, match="all frames are of class 'a'"):
        split(made_up(*"aaaaaaaa"))


def test_too_few_frames_for_their_classes() -> None:
    with pytest.raises(MilairError, match=r"8 frames of 3 classes: the 2 to judge by cannot hold every class"):
        split(made_up(*"aaaabbcc"))


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=40))
def test_a_split_is_refused_where_it_must_be_or_leaves_every_frame_on_one_side(labels: list[str]) -> None:
    frames = made_up(*labels)
    try:
        halves = split(frames)
    except MilairError:
        assert len(frames) < 4 * len(set(labels)) or min(map(labels.count, labels)) < 4 or len(set(labels)) < 2
        return
    assert sorted(halves.train + halves.val, key=lambda frame: int(frame.path.stem)) == frames
    assert len(halves.val) == -(-len(frames) // 4)
    assert {frame.label for frame in halves.train} == {frame.label for frame in halves.val} == set(labels)
    assert split(frames) == halves


def test_a_class_that_validation_would_never_see_is_named() -> None:
    with pytest.raises(MilairError, match="class 'b' has 2 frames, too few for one of them to fall into validation"):
        split(made_up(*"a" * 98, "b", "b"))


def test_classes_come_by_count_and_then_by_name() -> None:
    assert class_order(made_up(*"cbbaac")) == ("a", "b", "c")
    assert class_order(made_up(*"cbbacc")) == ("c", "b", "a")
