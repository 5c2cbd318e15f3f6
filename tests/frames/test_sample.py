"""The built-in sample: the same pixels from the same seed, tight boxes, and a folder that is whole or absent."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from milair.frames import sample


def drawn(number: int) -> tuple[Image.Image, sample.Box]:
    return sample.draw(sample.CLASSES[number % 6], np.random.default_rng([7, number]))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample.write(tmp_path_factory.mktemp("data") / "sample", labelled=18, unlabelled=3, seed=5)


@pytest.mark.parametrize("number", range(6))
def test_the_same_seed_draws_the_same_frame(number: int) -> None:
    (first, box), (second, again) = drawn(number), drawn(number)
    assert first.tobytes() == second.tobytes()
    assert box == again


@pytest.mark.parametrize("size", [(640, 360), (320, 180), (300, 400)])
def test_boxes_lie_in_the_frame_and_are_no_wider_than_they_may_be(size: tuple[int, int]) -> None:
    for number in range(18):
        frame, box = sample.draw(sample.CLASSES[number % 6], np.random.default_rng(number), size)
        xmin, ymin, xmax, ymax = box
        assert (frame.mode, frame.size) == ("RGB", size)
        assert 0 <= xmin < xmax <= size[0]
        assert 0 <= ymin < ymax <= size[1]
        assert xmax - xmin <= sample.WIDTHS[1] * size[0] + 2


def test_boxes_are_tight(monkeypatch: pytest.MonkeyPatch) -> None:
    posed = sample._aircraft

    def in_one_grey(grey: int, number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
        def painted(label: str, rng: np.random.Generator, size: tuple[int, int]) -> tuple[Image.Image, tuple[int, int]]:
            sprite, place = posed(label, rng, size)
            solid = Image.new("L", sprite.size, grey)
            return Image.merge("RGBA", (solid, solid, solid, sprite.getchannel("A"))), place

        monkeypatch.setattr(sample, "_aircraft", painted)
        return np.asarray(drawn(number)[0], np.int16)

    for number in range(18):
        _, box = drawn(number)
        # A black and a white aircraft in the same frame differ only where there is aircraft.
        changed = (in_one_grey(255, number) - in_one_grey(0, number)).max(axis=2) > 30
        monkeypatch.undo()
        rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
        seen = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert box == pytest.approx(seen, abs=1), f"frame {number}"


def test_a_frame_does_not_depend_on_how_many_there_are(written: Path, tmp_path: Path) -> None:
    few = sample.write(tmp_path / "few", labelled=6, unlabelled=0, seed=5)
    images = contents(few / "images")
    assert len(images) == 6
    assert images.items() <= contents(written / "images").items()
    rows = {row["filename"]: row for row in table(written / "train.csv")}
    assert all(row == rows[row["filename"]] for row in table(few / "train.csv"))


def test_the_layout_is_the_competitions(written: Path) -> None:
    train, test = table(written / "train.csv"), table(written / "test.csv")
    assert list(train[0]) == ["filename", "class", "xmin", "ymin", "xmax", "ymax"]
    assert test == [{"filename": f"frame_{number:05d}.jpeg"} for number in (18, 19, 20)]
    assert {path.name for path in (written / "images").iterdir()} == {row["filename"] for row in train + test}
    for row in train:
        with Image.open(written / "images" / row["filename"]) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (640, 360))
        assert 0 <= int(row["xmin"]) < int(row["xmax"]) <= 640
        assert 0 <= int(row["ymin"]) < int(row["ymax"]) <= 360


def test_classes_are_balanced_and_their_rows_shuffled(written: Path) -> None:
    train = table(written / "train.csv")
    assert Counter(row["class"] for row in train) == dict.fromkeys(sample.CLASSES, 3)
    names = [row["filename"] for row in train]
    assert names != sorted(names)


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(label: str, _: np.random.Generator) -> tuple[Image.Image, sample.Box]:
        if label == sample.CLASSES[2]:
            raise KeyboardInterrupt
        return Image.new("RGB", (8, 8)), (0, 0, 8, 8)

    monkeypatch.setattr(sample, "draw", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sample.write(tmp_path / "sample", labelled=6)
    assert not list(tmp_path.iterdir())


def test_a_written_sample_is_kept(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(written)
    monkeypatch.delattr(sample, "draw")
    assert sample.write(written, labelled=18, unlabelled=3, seed=5) == written
    assert contents(written) == before


def test_another_process_may_win_the_race(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, draw = tmp_path / "sample", sample.draw

    def outrun(label: str, rng: np.random.Generator) -> tuple[Image.Image, sample.Box]:
        monkeypatch.setattr(sample, "draw", draw)
        sample.write(folder, labelled=1, unlabelled=0)
        (folder / "theirs").touch()
        return draw(label, rng)

    monkeypatch.setattr(sample, "draw", outrun)
    assert sample.write(folder, labelled=1, unlabelled=0) == folder
    assert (folder / "theirs").exists()
    assert list(tmp_path.iterdir()) == [folder]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    assert len(table(sample.write(tmp_path, labelled=1, unlabelled=0) / "train.csv")) == 1


@pytest.mark.parametrize("name", ["train.csv", "SAMPLE"])
def test_a_folder_of_something_else_is_not_touched(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("filename,class\n")
    with pytest.raises(FileExistsError, match="in the way"):
        sample.write(tmp_path, labelled=1)
    assert contents(tmp_path) == {name: b"filename,class\n"}


def test_another_seeds_sample_is_not_passed_off_as_this_one(written: Path) -> None:
    with pytest.raises(FileExistsError, match="18 labelled, 3 unlabelled, seed 6"):
        sample.write(written, labelled=18, unlabelled=3, seed=6)
