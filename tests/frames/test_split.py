"""Splits: the document's own, near-duplicates kept on one side, one that the data bring; and what cannot be split."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from folders import made_up
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from milair import MilairError, data
from milair.frames import KINDS, OBJECTS, TRAIN, VALIDATION, duplicates, sample
from milair.frames.frame import Frame, Split, class_order
from milair.frames.pictures import look_at
from milair.frames.read import read
from milair.frames.split import default_kind, identity, split, splits


def of(*labels: str) -> list[Frame]:
    return [made_up(f"{number}.png", label) for number, label in enumerate(labels)]


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
        split(of(*"aaaaaaab"))


@pytest.mark.parametrize("kind", KINDS)
def test_frames_of_one_class_can_be_split(tmp_path: Path, kind: str) -> None:
    frames = paint(tmp_path / "f", *range(8), label="a")
    frames = [replace(frame, part=VALIDATION if place < 2 else TRAIN) for place, frame in enumerate(frames)]
    halves = split(frames, kind)
    assert (len(halves.train), len(halves.val)) == (6, 2)
    assert set(halves.train) | set(halves.val) == set(frames)


def test_the_command_line_takes_every_kind_and_every_fate_of_objects() -> None:
    for option, choices in (("--split", KINDS), ("--objects", OBJECTS)):
        for choice in choices:
            assert choice in vars(data.arguments().parse_args(["check", ".", option, choice])).values()


def test_too_few_frames_for_a_grouped_split(tmp_path: Path) -> None:
    with pytest.raises(MilairError, match="class 'a' has 3 frames; a grouped split needs 4 of one class"):
        split(paint(tmp_path / "f", 1, 2, 3, label="a"), "grouped")
    frames = paint(tmp_path / "f", *range(8), label="a") + paint(tmp_path / "f", 9, 10, label="b")
    assert len(split(frames, "grouped").val) >= 2


def test_too_few_frames_for_their_classes() -> None:
    with pytest.raises(MilairError, match=r"8 frames of 3 classes: 2 validation frames cannot hold every class"):
        split(of(*"aaaabbcc"))


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=40))
def test_a_split_is_refused_where_it_must_be_or_leaves_every_frame_on_one_side(labels: list[str]) -> None:
    frames = of(*labels)
    try:
        halves = split(frames)
    except MilairError:
        assert len(frames) < 4 * len(set(labels)) or min(map(labels.count, labels)) < 4
        return
    assert sorted(halves.train + halves.val, key=lambda frame: int(frame.path.stem)) == frames
    assert len(halves.val) == -(-len(frames) // 4)
    assert {frame.label for frame in halves.train} == {frame.label for frame in halves.val} == set(labels)
    assert split(frames) == halves


def test_a_class_that_validation_would_never_see_is_named() -> None:
    with pytest.raises(MilairError, match="class 'b' has 2 frames, too few for one of them to fall into validation"):
        split(of(*"a" * 98, "b", "b"))


def test_classes_come_by_count_and_then_by_name() -> None:
    assert class_order(of(*"cbbaac")) == ("a", "b", "c")
    assert class_order(of(*"cbbacc")) == ("c", "b", "a")


def paint(folder: Path, *scenes: int, label: str) -> list[Frame]:
    """A frame for each scene: frames of one scene differ a little, as neighbours in a video do."""
    folder.mkdir(exist_ok=True)
    frames = []
    for scene in scenes:
        number = len(list(folder.iterdir()))
        blocks = np.random.default_rng(scene).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        large = np.asarray(Image.fromarray(blocks).resize((80, 60), Image.Resampling.BICUBIC), np.int16)
        noise = np.random.default_rng([scene, number]).integers(-12, 13, large.shape)
        path = folder / f"{number:03d}.png"
        Image.fromarray((large + noise).clip(0, 255).astype(np.uint8)).save(path)
        frames.append(Frame(look_at(path), label, (0, 0, 1, 1)))
    return frames


@pytest.fixture
def videos(tmp_path: Path) -> list[Frame]:
    """Frames of two classes: of each a video of six frames, one of three, and nine frames alone."""
    scenes = [0] * 6 + [1] * 3 + list(range(2, 11))
    return paint(tmp_path / "f", *scenes, label="a") + paint(tmp_path / "f", *(100 + s for s in scenes), label="b")


def test_frames_of_a_video_are_one_group_and_others_are_alone(videos: list[Frame]) -> None:
    group = duplicates.groups(videos)
    assert group[:9] == [0] * 6 + [1] * 3
    assert sorted(set(group), key=group.index) == list(range(22))  # numbered as they come
    assert sorted(Counter(group).values()) == [1] * 18 + [3, 3, 6, 6]


def test_a_copy_in_another_size_and_format_is_a_near_duplicate(tmp_path: Path) -> None:
    (original,) = paint(tmp_path / "f", 1, label="a")
    path, (other,) = tmp_path / "copy.jpeg", paint(tmp_path / "f", 2, label="a")
    Image.open(original.path).resize((200, 100)).save(path, quality=60)
    copy = replace(original, picture=look_at(path))
    assert duplicates.pairs([original, other, copy]).tolist() == [[0, 2]]


def test_pictures_of_one_colour_are_alike_only_to_themselves(tmp_path: Path) -> None:
    """Without contrast there is nothing to correlate: no pair, and no division by zero."""
    paths = [tmp_path / f"{shade}.png" for shade in (0, 128, 255)]
    for path in paths:
        Image.new("RGB", (80, 60), (int(path.stem),) * 3).save(path)
    assert duplicates.pairs([Frame(look_at(path), "a", (0, 0, 1, 1)) for path in paths]).tolist() == []


def test_pairs_are_those_of_the_whole_comparison(videos: list[Frame], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = duplicates.pairs(videos).tolist()
    looks = np.stack([np.frombuffer(frame.picture.look, np.uint8) for frame in videos]).astype(float)
    correlated = np.corrcoef(looks)
    assert whole == [[i, j] for i in range(36) for j in range(i + 1, 36) if correlated[i, j] >= duplicates.ALIKE]
    monkeypatch.setattr(duplicates, "_BLOCK", 5)
    assert sorted(duplicates.pairs(videos).tolist()) == sorted(whole)


def test_a_grouped_split_parts_no_near_duplicates(videos: list[Frame]) -> None:
    assert duplicates.across(split(videos)) > 0
    halves = split(videos, "grouped")
    assert duplicates.across(halves) == 0
    assert sorted(halves.train + halves.val, key=str) == sorted(videos, key=str)
    assert 6 <= len(halves.val) <= 12  # about a quarter of 36
    assert {frame.label for frame in halves.val} == {"a", "b"}
    assert split(videos, "grouped") == halves


def test_a_grouped_split_of_the_real_frames(real_data: Path) -> None:
    frames = read(real_data).labelled
    pairs = duplicates.pairs(frames)
    assert all(frames[first].label == frames[second].label for first, second in pairs)
    assert (len(pairs), duplicates.across(split(frames))) == (42, 11)
    halves = split(frames, "grouped")
    assert duplicates.across(halves) == 0
    assert len({frame.label for frame in halves.val}) == 6


def test_a_class_of_one_video_cannot_be_split(tmp_path: Path) -> None:
    frames = paint(tmp_path / "f", 1, 1, 1, label="a") + paint(tmp_path / "f", 2, 3, 4, 5, 6, label="b")
    with pytest.raises(MilairError, match="frames of class 'a' are all near-duplicates"):
        split(frames, "grouped")


def test_a_split_of_ones_own(tmp_path: Path) -> None:
    folder = sample.write(tmp_path / "sample", labelled=12, unlabelled=0)
    names = [frame.path.name for frame in read(folder).labelled]
    rows = [f"{name},{'val' if number >= 10 else 'train'}" for number, name in enumerate(names)]
    (folder / "split.csv").write_text("\n".join(["filename,split", *rows]))
    frames = read(folder).labelled
    assert default_kind(frames) == "file"
    assert [frame.path.name for frame in split(frames, "file").val] == names[10:]
    other = frames[:9] + tuple(replace(frame, part="train") for frame in frames[9:10]) + frames[10:]
    assert identity(frames, "file") == identity(other, "file")
    moved = frames[:9] + tuple(replace(frame, part="validation") for frame in frames[9:10]) + frames[10:]
    assert identity(frames, "file") != identity(moved, "file")
    with pytest.raises(MilairError, match=f"nothing says whether {names[0]} is a training or"):
        split(tuple(replace(frame, part=None) for frame in frames), "file")
    with pytest.raises(MilairError, match="all frames are train frames"):
        split(frames[:10], "file")
    strange = tuple(replace(frame, label="new") if frame.part == "validation" else frame for frame in frames)
    with pytest.raises(MilairError, match="class 'new' has validation frames only"):
        split(strange, "file")


def places(splits: tuple[Split, ...], frames: list[Frame]) -> list[int]:
    """The fold that holds each frame back."""
    held = {frame.path: number for number, fold in enumerate(splits) for frame in fold.val}
    return [held[frame.path] for frame in frames]


def test_folds_hold_every_frame_back_once_and_part_no_near_duplicates(videos: list[Frame]) -> None:
    cut = splits(videos, "folds:3", 32)
    assert sorted((frame for fold in cut for frame in fold.val), key=str) == sorted(videos, key=str)
    for fold in cut:
        assert {frame.label for frame in fold.val} == {"a", "b"}
        assert duplicates.across(fold) == 0
        assert [frame for frame in videos if frame not in fold.val] == list(fold.train)
    assert splits(videos, "folds:3", 32) == cut
    assert len({tuple(places(splits(videos, "folds:3", seed), videos)) for seed in range(8)}) > 4  # other cuts


def test_five_folds_of_the_real_frames(real_data: Path) -> None:
    frames = list(read(real_data).labelled)
    for seed in range(3):
        cut = splits(frames, "folds:5", seed)
        assert sum(map(duplicates.across, cut)) == 0
        assert [len({frame.label for frame in fold.val}) for fold in cut] == [6] * 5
        assert all(35 <= len(fold.val) <= 41 for fold in cut)


def test_frames_that_cannot_be_cut_into_folds(tmp_path: Path) -> None:
    several, few = paint(tmp_path / "f", *range(9), label="a"), paint(tmp_path / "f", 20, 21, label="b")
    with pytest.raises(MilairError, match="class 'b' has 2 frames; 3 folds need one each at least"):
        splits(several + few, "folds:3")
    with pytest.raises(MilairError, match="class 'b' has 2 frames; 3 folds need one each at least"):
        splits(few, "folds:3")  # of one class alone
    video = paint(tmp_path / "g", 30, 30, 30, 31, label="b")
    with pytest.raises(MilairError, match="class 'b' has 2 groups of near-duplicates; 3 folds need one each at least"):
        splits(several + video, "folds:3")


def test_of_few_frames_the_default_is_folds_if_they_can_be_cut_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enough = [*paint(tmp_path / "f", *range(6), label="a"), *paint(tmp_path / "f", *range(20, 26), label="b")]
    assert default_kind(enough) == "folds:5"
    assert default_kind(enough[:10]) == "stratified"  # four of one class
    monkeypatch.setattr("milair.frames.split.FEW", 12)
    assert default_kind(enough) == "stratified"
    assert default_kind(enough[:11]) == "folds:5"


def test_folds_that_the_data_bring(tmp_path: Path) -> None:
    folder = sample.write(tmp_path / "sample", labelled=24, unlabelled=0)
    frames = read(folder).labelled
    rows = [f"{frame.path.name},{place % 3}" for place, frame in enumerate(frames)]
    (folder / "split.csv").write_text("\n".join(["filename,split", *rows]))
    stated = read(folder).labelled
    assert default_kind(stated) == "file"
    cut = splits(stated, "file", 5)
    assert cut == splits(stated, "file", 6)
    assert places(cut, list(stated)) == [place % 3 for place in range(24)]
    assert identity(stated, "file") != identity(frames, "file")
    rows[0] = f"{frames[0].path.name},train"
    (folder / "split.csv").write_text("\n".join(["filename,split", *rows]))
    mixed = read(folder).labelled
    assert default_kind(mixed) == "stratified"
    with pytest.raises(MilairError, match="nothing says whether"):
        splits(mixed, "file")
    with pytest.raises(MilairError, match="fold 1 has all frames of class 'b'; other folds need some as well"):
        splits([replace(frame, part=part) for frame, part in zip(of(*"aabba"), "00111", strict=True)], "file")


@pytest.mark.parametrize("text", ["folds", "folds:", "folds:1", "folds:x", "folds:-2", "folds:101", "halves", "file:2"])
def test_a_kind_of_split_that_is_none_is_refused_with_those_there_are(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        data.arguments().parse_args(["check", ".", "--split", text])
    kinds = "stratified, grouped, file, folds:N (N from 2 to 100)"
    assert f"argument --split: there is no split '{text}'; there are {kinds}" in capsys.readouterr().err
