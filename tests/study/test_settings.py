"""What all trials of a study share: how frames are read and split, which choices are left, which weights there are."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from milair import MilairError, space
from milair.errors import UsageError
from milair.frames import sample
from milair.frames.pictures import cache_folder
from milair.frames.split import split
from milair.study.session import read_frames
from milair.study.settings import Settings, new_settings

SPACE = '''"""Which one?"""
from dataclasses import replace
from milair import Recipe

BASELINE = Recipe(image_size="64x48", epochs=1)

def space(trial):
    backbone = trial.suggest_categorical("backbone", ["squeezenet1_0", "squeezenet1_1", "vgg16"])
    return replace(BASELINE, backbone=backbone, alpha=trial.suggest_float("alpha", 0.5, 0.9))
'''
Make = Callable[..., Settings]


@pytest.fixture
def chosen(tmp_path: Path) -> space.Space:
    (tmp_path / "one.py").write_text(SPACE)
    return space.load("one", tmp_path)


@pytest.fixture
def make(tmp_path: Path, chosen: space.Space) -> Make:
    """Settings of a run on a small sample."""
    drawn = sample.write(cache_folder() / "tiny", labelled=24, unlabelled=2)
    data = str(shutil.copytree(drawn, tmp_path / "frames"))

    def settings(**given: object) -> Settings:
        return new_settings(chosen, data, read_frames(data), **given)  # type: ignore[arg-type]

    return settings


def test_a_study_from_before_splits_and_choices_had_names_opens(make: Make) -> None:
    stored = make().to_json()
    assert stored["split"] == {"share": 0.25, "seed": 42}
    older = {name: value for name, value in stored.items() if name not in ("only", "objects")}
    assert Settings.from_json(older) == make()
    for other in (older | {"new": 1}, {name: value for name, value in older.items() if name != "views"}):
        with pytest.raises(MilairError, match="of an incompatible version"):
            Settings.from_json(other)


def test_a_split_is_part_of_a_study(make: Make) -> None:
    grouped = make(split="grouped")
    assert make(stored=grouped) == grouped
    with pytest.raises(MilairError, match=r"other split: alike 0\.97, now free, kind grouped, now free"):
        grouped.refuse_difference(make(), "one@frames")
    frames = read_frames(grouped.data)
    halves = split(frames.labelled, grouped.split_kind)
    assert len(halves.val) == 6
    assert grouped.with_frames(frames) == grouped


def test_a_space_may_say_how_its_frames_are_split(make: Make, chosen: space.Space, tmp_path: Path) -> None:
    assert make().split_kind == "stratified"  # of 24 frames, which have too few of each class for folds
    (tmp_path / "other.py").write_text(f'{SPACE}\nSPLIT = "folds:2"\n')
    folds = space.load("other", tmp_path)
    data = str(tmp_path / "frames")
    assert new_settings(folds, data, read_frames(data)).split_kind == "folds:2"
    assert new_settings(folds, data, read_frames(data), split="grouped").split_kind == "grouped"
    with pytest.raises(MilairError, match=r"one\.py: SPLIT = 'halves': there is no such split"):
        new_settings(replace(chosen, split="halves"), data, read_frames(data))


def test_a_split_of_ones_own_that_changes_is_another_split(make: Make, tmp_path: Path) -> None:
    table = tmp_path / "frames" / "split.csv"
    names = [frame.path.name for frame in read_frames(str(table.parent)).labelled]
    rows = [f"{name},{'val' if number > 17 else 'train'}" for number, name in enumerate(names)]
    table.write_text("\n".join(["filename,split", *rows]))
    mine = make()
    assert mine.split_kind == "file"
    assert [frame.path.name for frame in split(read_frames(mine.data).labelled, mine.split_kind).val] == names[18:]
    table.write_text(table.read_text().replace(f"{names[20]},val", f"{names[20]},train"))
    with pytest.raises(MilairError, match="other split: fingerprint"):
        mine.refuse_difference(make(stored=mine), "one@frames")
    assert mine.with_frames(read_frames(mine.data)) != mine
    table.unlink()
    with pytest.raises(MilairError, match="--split file: nothing says whether"):
        split(read_frames(mine.data).labelled, mine.split_kind)


def test_fewer_choices_are_stored_and_drawn_and_are_other_dimensions(make: Make, chosen: space.Space) -> None:
    only = {"backbone": ["squeezenet1_0", "vgg16"]}
    narrow = make(only=only)
    assert narrow.dimensions["backbone"]["choices"] == ["squeezenet1_0", "vgg16"]
    assert make(stored=narrow) == narrow
    with pytest.raises(MilairError, match="other dimensions: backbone"):
        make().refuse_difference(narrow, "one@frames")
    narrowed = chosen.narrowed(narrow.only)
    assert narrowed.dimensions() == narrow.dimensions
    assert narrowed.answers(narrowed.baseline) == {"backbone": "squeezenet1_0", "alpha": 0.7}
    other = chosen.narrowed({"backbone": ["vgg16"]})
    assert other.answers(other.baseline) == {"backbone": "vgg16", "alpha": 0.7}


@pytest.mark.parametrize(
    ("only", "says"),
    [
        ({"backbone": ["resnet18"]}, "--only backbone=resnet18: the choices are squeezenet1_0, squeezenet1_1, vgg16"),
        ({"alpha": ["0.5"]}, "--only alpha: the space one has no such choice; its choices are backbone"),
        ({"pooling": ["own"]}, "--only pooling: the space one has no such choice"),
    ],
)
def test_choices_that_a_space_does_not_have(make: Make, only: dict[str, list[str]], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make(only=only)


def test_backbones_without_weights_are_named_with_the_file_that_each_waits_for(make: Make, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    for name in ("squeezenet1_0", "squeezenet1_1"):
        (weights / f"{name}.pth").touch()
    settings = make(weights=str(weights))
    assert settings.lacking() == {"vgg16": weights / "vgg16.pth"}
    shutil.rmtree(weights)
    for source in ("imagenet", "random"):  # the one is downloaded in its time, the other needs no file
        assert make(weights=source).lacking() == {}


@pytest.mark.usefixtures("make")
def test_several_objects_are_read_as_the_study_read_them(tmp_path: Path) -> None:
    table = tmp_path / "frames" / "train.csv"
    first = table.read_text().splitlines()[1].split(",")[0]
    table.write_text(table.read_text() + f"{first},f16,0,0,600,300\n")
    data = str(table.parent)
    assert len(read_frames(data, "skip").labelled) == 23
    largest = read_frames(data, "largest").labelled[0]
    assert largest.box == pytest.approx((0, 0, 600 / 640, 300 / 360))
    with pytest.raises(MilairError, match=f"row 26: a second object in {first}, after that in"):
        read_frames(data, "error")
