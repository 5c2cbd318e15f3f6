"""The same frames in every format, as globox and pandas write them, are the same frames."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from globox import Annotation, AnnotationSet, BoundingBox

from milair.frames import sample
from milair.frames.frame import Frame
from milair.frames.read import check, read
from milair.frames.split import default_kind, split


def as_globox(table: pd.DataFrame, size: tuple[int, int]) -> AnnotationSet:
    """A competition's table as globox's own."""
    found = AnnotationSet()
    for name, label, *box in table.itertuples(index=False):
        made = BoundingBox(label=label, xmin=box[0], ymin=box[1], xmax=box[2], ymax=box[3])
        found.add(Annotation(name, image_size=size, boxes=[made]))
    return found


def coco(table: pd.DataFrame, size: tuple[int, int], folder: Path) -> None:
    as_globox(table, size).save_coco(folder / "instances.json", auto_ids=True)


def voc(table: pd.DataFrame, size: tuple[int, int], folder: Path) -> None:
    as_globox(table, size).save_pascal_voc(folder / "annotations")


def yolo(table: pd.DataFrame, size: tuple[int, int], folder: Path) -> None:
    names = sorted(table["class"].unique())
    ids = {name: number for number, name in enumerate(names)}
    as_globox(table, size).save_yolo_v5(folder / "labels", label_to_id=ids)
    (folder / "data.yaml").write_text(f"nc: {len(names)}\nnames: {names}\n")


def single(table: pd.DataFrame, size: tuple[int, int], folder: Path) -> None:
    for name, rows in sized(table, size).groupby("filename"):
        rows.to_csv(folder / f"{name}.csv", index=False)


def with_split(table: pd.DataFrame, size: tuple[int, int], folder: Path) -> None:
    parts = ["validation" if number % 4 == 0 else "train" for number in range(len(table))]
    sized(table, size).assign(split=parts).to_csv(folder / "labels_with_split.csv", index=False)


def sized(table: pd.DataFrame, size: tuple[int, int]) -> pd.DataFrame:
    """The columns of the well-known set: sizes, and names without suffix."""
    stems = table["filename"].str.rsplit(".", n=1).str[0]
    columns = ["filename", "width", "height", "class", "xmin", "ymin", "xmax", "ymax"]
    return table.assign(filename=stems, width=size[0], height=size[1])[columns]


WRITERS = {
    "COCO JSON": coco,
    "Pascal VOC": voc,
    "YOLO text": yolo,
    "one CSV for each picture": single,
    "labels_with_split.csv": with_split,
}


@pytest.fixture(scope="module", params=["sample", "real"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in the competition's layout: drawn frames, and the real ones where they are."""
    if request.param == "real":
        return Path(request.getfixturevalue("real_data"))
    return sample.write(tmp_path_factory.mktemp("formats") / "sample", labelled=24, unlabelled=0)


def by_name(frames: tuple[Frame, ...]) -> dict[str, Frame]:
    return {frame.path.name: frame for frame in frames}


@pytest.mark.parametrize(("layout", "write"), WRITERS.items())
def test_every_format_gives_the_frames_of_the_competitions_table(
    source: Path, tmp_path: Path, layout: str, write: Callable[[pd.DataFrame, tuple[int, int], Path], None]
) -> None:
    expected = by_name(read(source).labelled)
    (tmp_path / "images").symlink_to(source / "images", target_is_directory=True)
    first = next(iter(expected.values()))
    write(pd.read_csv(source / "train.csv"), (first.width, first.height), tmp_path)

    found, faults = check(tmp_path)
    assert [str(fault) for fault in faults] == []
    assert found.layout == layout
    frames = by_name(found.labelled)
    assert frames.keys() == expected.keys()
    for name, frame in frames.items():
        same = expected[name]
        assert (frame.label, frame.width, frame.height) == (same.label, same.width, same.height)
        # YOLO's shares are rounded as they are written; all others are whole pixels
        assert frame.box == (pytest.approx(same.box, abs=1e-6) if layout == "YOLO text" else same.box)
        assert frame.path.samefile(same.path)


def test_the_real_pascal_voc_files_are_the_real_table(real_data: Path, tmp_path: Path) -> None:
    for name in ("annotations", "images"):
        (tmp_path / name).symlink_to(real_data / name, target_is_directory=True)
    table, voc_files = read(real_data), read(tmp_path)
    assert (table.layout, voc_files.layout) == ("competition CSV; Pascal VOC there is not read", "Pascal VOC")
    assert len(voc_files.labelled) == 189
    boxes = {name: (frame.label, frame.box) for name, frame in by_name(voc_files.labelled).items()}
    assert boxes == {name: (frame.label, frame.box) for name, frame in by_name(table.labelled).items()}
    assert {path.name for path in voc_files.unlabelled} == {path.name for path in table.unlabelled}


def test_a_split_that_the_data_bring_is_the_default(tmp_path: Path) -> None:
    source = sample.write(tmp_path / "sample", labelled=24, unlabelled=0)
    (tmp_path / "brought").mkdir()
    (tmp_path / "brought" / "images").symlink_to(source / "images", target_is_directory=True)
    table = pd.read_csv(source / "train.csv")
    with_split(table, (640, 360), tmp_path / "brought")
    frames = read(tmp_path / "brought").labelled
    assert default_kind(frames) == "file"
    assert [frame.path.name for frame in split(frames, "file").val] == table["filename"].tolist()[::4]
    assert default_kind(read(source).labelled) == "stratified"
