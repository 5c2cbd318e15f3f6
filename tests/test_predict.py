"""`milair.predict`: every way to name pictures, every file it writes, damaged pictures, and memory that stays flat."""

from __future__ import annotations

import csv
import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from folders import THINGS, competition, table
from PIL import Image

from milair import Recipe, api, predict
from milair.frames.listing import in_table, unlabelled
from milair.model import backbones
from milair.model.checkpoint import save
from milair.model.detector import Detector, Model
from milair.model.heads import Heads
from milair.model.preprocessing import Preprocessing
from milair.recipe import LinearHead

RECIPE = Recipe(backbone="squeezenet1_1", weights="random", image_size="64x48", cls_head=LinearHead("8"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random numbers."""
    folder = tmp_path_factory.mktemp("model") / "model"
    shape, _ = backbones.measure(RECIPE.feature_map, RECIPE.size)
    heads = Heads(RECIPE, shape, 3)
    backbone = backbones.build(RECIPE.feature_map)
    save(folder, Detector(Preprocessing(RECIPE.size), backbone, heads, RECIPE, "abc"), {})
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of the competition: three labelled frames, and d and e without labels."""
    folder = tmp_path / "frames"
    (folder / "images").mkdir(parents=True)
    for number, name in enumerate("abcde"):
        noise = np.random.default_rng(number).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / "images" / f"{name}.png")
    competition(folder, THINGS)
    table(folder / "test.csv", ("filename",), [("e.png",), ("d.png",)])
    return folder


def rows(file: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.read_text().splitlines()))


def run(model: Path, *words: str | Path) -> int:
    return predict.main([str(model), *map(str, words), "--devices", "cpu"])


def test_from_a_folder_of_the_competition_to_its_submission(model: Path, data: Path, tmp_path: Path) -> None:
    """In the order of test.csv."""
    assert run(model, "--test", data, "--csv", tmp_path / "out" / "submission.csv") == 0
    written = rows(tmp_path / "out" / "submission.csv")
    assert [row["filename"] for row in written] == ["e.png", "d.png"]
    expected = list(api.load(model, "cpu").predict([data / "images" / "e.png", data / "images" / "d.png"]))
    assert [row["class"] for row in written] == [prediction.label for prediction in expected]
    boxes = [tuple(int(row[side]) for side in ("xmin", "ymin", "xmax", "ymax")) for row in written]
    assert boxes == [prediction.box for prediction in expected]
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["submission.csv"]


def test_each_format_says_the_same(model: Path, data: Path, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("p.csv", "p.json", "coco.json")]
    words = [word for pair in zip(("--csv", "--json", "--coco"), files, strict=True) for word in pair]
    assert run(model, *words, data / "images", "--threshold", "0.999") == 0
    table, document, coco = rows(files[0]), json.loads(files[1].read_text()), json.loads(files[2].read_text())
    assert len(table) == len(document) == len(coco) == 5
    for number, (row, one, other) in enumerate(zip(table, document, coco, strict=True), 1):
        assert row["filename"] == one["filename"] == other["file_name"]
        assert row["class"] == one["class"] == other["category_name"] == "abc"[other["category_id"] - 1]
        assert one["probability"] == other["score"]
        assert other["image_id"] == number
        left, top, width, height = other["bbox"]
        sides = [one[side] for side in ("xmin", "ymin", "xmax", "ymax")]
        assert sides == [left, top, left + width, top + height] == [int(row[side]) for side in list(row)[2:6]]
        assert (row["uncertain"], one["uncertain"], other["uncertain"]) == ("yes", True, True)


@pytest.mark.parametrize(("threshold", "uncertain"), [("0", "no"), ("1", "yes")])
def test_below_the_threshold_a_picture_is_uncertain(
    model: Path, data: Path, tmp_path: Path, threshold: str, uncertain: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "p.csv"
    assert run(model, data / "images" / "a.png", "--csv", file, "--threshold", threshold) == 0
    assert [row["uncertain"] for row in rows(file)] == [uncertain]
    assert ("uncertain" in capsys.readouterr().out) == (uncertain == "yes")


def test_a_pattern_is_what_the_shell_would_make_of_it(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(model, data / "**" / "[ab].png", "--csv", tmp_path / "p.csv") == 0
    assert [row["filename"] for row in rows(tmp_path / "p.csv")] == ["a.png", "b.png"]
    capsys.readouterr()
    assert run(model, data / "*.jpeg") == 1
    assert capsys.readouterr().err == f"milair: {data}/*.jpeg: no picture matches that pattern\n"


@pytest.mark.parametrize(
    "text",
    [
        "id,filename\n1,images/b.png\n2,images/a.png\n",
        "images/b.png\nimages/a.png\n",
        "b\na\n",
        "\ufeffpicture\nimages/b.png\n\nimages/a.png\n",
        "picture,of\nimages/b.png,x.png\nimages\\a.png,y\n",
    ],
)
def test_a_csv_names_pictures_beside_it(data: Path, text: str) -> None:
    file = data / "names.csv"
    file.write_text(text, encoding="utf-8")
    assert [picture.path for picture in in_table(file)] == [data / "images" / "b.png", data / "images" / "a.png"]


def test_a_csv_names_pictures_of_another_folder(model: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("filename\nc.png\na.png\n")
    words = ("--names", tmp_path / "names.csv", "--folder", data / "images", "--csv", tmp_path / "p.csv")
    assert run(model, *words) == 0
    assert [row["filename"] for row in rows(tmp_path / "p.csv")] == ["c.png", "a.png"]
    assert [picture.path for picture in in_table(data / "test.csv")] == [
        data / "images" / f"{name}.png" for name in "ed"
    ]


def test_what_is_damaged_is_named_and_skipped(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = data / "images" / "b.png"
    broken.write_bytes(broken.read_bytes()[:200])
    (data / "images" / "d.png").write_text("no picture")
    words = ("--csv", tmp_path / "p.csv", "--coco", tmp_path / "coco.json")
    assert run(model, data / "images", *words) == 1
    assert [row["filename"] for row in rows(tmp_path / "p.csv")] == ["a.png", "c.png", "e.png"]
    assert [row["image_id"] for row in json.loads((tmp_path / "coco.json").read_text())] == [1, 3, 5]
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("written")]
    assert [line.split()[1] for line in lines[:2]] == [str(broken), str(data / "images" / "d.png")]
    assert lines[2:] == ["milair: 2 of 5 pictures could not be read and were skipped"]


def test_what_the_data_name_and_do_not_have_is_skipped(
    model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "images" / "e.png").unlink()
    assert run(model, "--test", data, "--csv", tmp_path / "p.csv") == 1
    assert [row["filename"] for row in rows(tmp_path / "p.csv")] == ["d.png"]
    err = capsys.readouterr().err
    assert f"milair: {data / 'test.csv'}, row 2: there is no picture {data / 'images' / 'e.png'}; skipped\n" in err
    assert err.endswith("milair: 1 of 2 pictures could not be read and were skipped\n")


def test_labels_at_fault_keep_nobody_from_predicting(data: Path) -> None:
    table(data / "train.csv", ("filename", "class", "xmin", "ymin", "xmax", "ymax"), [("a.png", "f16", 9, 9, "x", 9)])
    pictures, faults = unlabelled(data)
    assert [picture.name for picture in pictures] == ["e.png", "d.png"]
    assert faults == []


def test_a_run_that_fails_leaves_the_old_file(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "out" / "p.csv"
    file.parent.mkdir()
    file.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", fail)
    assert run(model, data / "images", "--csv", file, "--draw", tmp_path / "drawn") == 1
    assert file.read_text() == "old"
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize(
    ("words", "says", "status"),
    [
        ([], "pictures are named in one way", 2),
        (["D/images", "--test", "D"], "pictures are named in one way", 2),
        (["D/images", "--folder", "D"], "--folder says where the pictures of --names lie", 2),
        (["--test", "D/images"], "no labelled frames there", 1),
        (["--names", "D/none.csv"], "cannot be read", 1),
        (["--names", "D/empty.csv"], "it names no pictures", 1),
    ],
)
def test_each_mistake_has_its_line(
    model: Path, data: Path, words: Sequence[str], says: str, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "empty.csv").write_text("filename\n")
    assert run(model, *(word.replace("D", str(data)) if word[0] == "D" else word for word in words)) == status
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1


def test_a_threshold_is_a_share(capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ("1.5", "nan", "half"):
        with pytest.raises(SystemExit, match="2"):
            run(Path("model"), "a.png", "--threshold", wrong)
        assert f"'{wrong}' is not a number from 0 to 1" in capsys.readouterr().err


class Still(Model):
    """Sees the same in every picture, at once."""

    classes = ("a", "b")

    def __init__(self) -> None:
        super().__init__()
        self.number = torch.nn.Parameter(torch.zeros(1))

    def detect(self, pictures: Sequence[Image.Image], flip: bool = False) -> Any:  # noqa: ARG002
        return torch.tensor([[0.9, 0.1]] * len(pictures)), torch.tensor([[0.1, 0.1, 0.5, 0.5]] * len(pictures))


def test_memory_is_flat_and_a_long_list_shows_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 2,000 pictures no more is held than of 200, but for their names."""
    monkeypatch.setattr(api, "load", lambda *_: Still())
    Image.new("RGB", (100, 80)).save(tmp_path / "a.png")
    peaks = []
    for count in (200, 200, 2000):  # the first one imports and fills caches
        (tmp_path / "names.csv").write_text("".join("a.png\n" for _ in range(count)))
        files = [word for name in ("csv", "json", "coco") for word in (f"--{name}", tmp_path / f"p.{name}")]
        tracemalloc.start()
        assert run(tmp_path, "--names", tmp_path / "names.csv", *files) == 0
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(rows(tmp_path / "p.csv")) == len(json.loads((tmp_path / "p.coco").read_text())) == count
    assert (peaks[2] - peaks[1]) / 1800 < 700  # bytes a picture: about 460 for its name, 910 if predictions are held
    assert capsys.readouterr().out == ""  # no line for each
