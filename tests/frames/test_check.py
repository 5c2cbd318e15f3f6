"""From annotations to frames: what the competition's tables may hold, and one clear line for whatever is wrong."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from milair import MilairError
from milair.frames import sample
from milair.frames.frame import Frame, fingerprint
from milair.frames.pictures import look_at
from milair.frames.read import locate, read
from milair.frames.readers import reading

HEADER = "filename,class,xmin,ymin,xmax,ymax"
GOOD = "a.png,f16,10,20,30,40"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two pictures of 80x60 and no tables yet."""
    for name in ("a.png", "b.png"):
        Image.new("RGB", (80, 60)).save(tmp_path / name)
    return tmp_path


def write(folder: Path, *rows: str, header: str = HEADER, table: str = "train.csv") -> Path:
    (folder / table).write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return folder


def refusal(folder: Path) -> str:
    """The one line with which a folder is refused."""
    with pytest.raises(MilairError) as refused:
        read(folder)
    line = str(refused.value)
    assert len(line.splitlines()) == 1
    return line


def test_boxes_of_the_real_data_are_shares_of_1280x720(real_data: Path) -> None:
    frame = read(real_data).labelled[0]
    assert (frame.path.name, frame.label, frame.width, frame.height) == ("image_00373.jpeg", "cougar", 1280, 720)
    assert frame.box == pytest.approx((506 / 1280, 303 / 720, 628 / 1280, 414 / 720))


def test_a_folder_is_read_in_the_order_of_its_file(folder: Path) -> None:
    write(folder, "b.png,f15,0,0,80,60", GOOD)
    write(folder, "b.png", header="filename", table="test.csv")
    frames = read(folder)
    assert [frame.path for frame in frames.labelled] == [folder / "b.png", folder / "a.png"]
    assert frames.labelled[0] == Frame(look_at(folder / "b.png"), "f15", (0, 0, 1, 1))
    assert frames.labelled[1].box == pytest.approx((10 / 80, 20 / 60, 30 / 80, 40 / 60))
    assert frames.unlabelled == (folder / "b.png",)
    assert frames.warnings == ()


def test_pictures_may_lie_in_a_folder_of_their_own_and_test_csv_may_be_absent(folder: Path) -> None:
    (folder / "images").mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).rename(folder / "images" / name)
    frames = read(write(folder, GOOD))
    assert frames.labelled[0].path == folder / "images" / "a.png"
    assert frames.unlabelled == ()


def test_what_describe_says(folder: Path) -> None:
    Image.new("RGB", (100, 60)).save(folder / "c.png")
    write(folder, "a.png,f16,0,0,40,30", "b.png,f16,0,0,80,60", "c.png,f15,0,0,50,12", "c.png,f15,0,0,5,6")
    write(folder, "b.png", header="filename", table="test.csv")
    lines = read(folder).describe().splitlines()
    assert lines[0] == f"3 labelled frames in {folder} (competition CSV), 1 without labels"
    assert lines[1] == "classes  f16 2, f15 1"
    assert lines[2] == "sizes    80x60 (2), 100x60 (1)"
    assert lines[3] == "boxes    10.0% to 100.0% of the picture, half below 25.0%"
    assert lines[4].startswith("warning  1 frame")
    assert len(lines) == 5


def test_of_several_objects_the_largest_is_taken_and_the_others_are_counted(folder: Path) -> None:
    small, large = "a.png,f16,10,20,30,40", "a.png,chinook,0,0,60,50"
    for rows in ([small, large], [large, small]):
        frames = read(write(folder, *rows, "b.png,f15,1,1,5,5"))
        assert [frame.label for frame in frames.labelled] == ["chinook", "f15"]
        assert len(frames.warnings) == 1
        assert "1 frame" in frames.warnings[0]
        assert "largest" in frames.warnings[0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_byte_order_marks_crlf_and_a_missing_last_newline_are_read(
    folder: Path, encoding: str, end: str, last: bool
) -> None:
    text = end.join([HEADER, GOOD, "b.png,señal,1,1,5,5"]) + end * last
    (folder / "train.csv").write_bytes(text.encode(encoding))
    assert [frame.label for frame in read(folder).labelled] == ["f16", "señal"]


def test_columns_may_come_in_any_order_with_others_between_them(folder: Path) -> None:
    write(folder, "x,40,30,20,10,f16,a.png", header="note,ymax,xmax,ymin,xmin,class,filename")
    assert read(folder).labelled[0].box == pytest.approx((10 / 80, 20 / 60, 30 / 80, 40 / 60))


def test_a_missing_folder_and_a_missing_table(folder: Path) -> None:
    assert refusal(folder / "no") == f"{folder / 'no'}: there is no such folder"
    assert refusal(folder / "a.png") == f"{folder / 'a.png'}: there is no such folder"
    line = refusal(folder)
    assert line.startswith(f"{folder}: no labelled frames there")
    assert HEADER in line


@pytest.mark.parametrize("missing", HEADER.split(","))
def test_a_missing_column(folder: Path, missing: str) -> None:
    line = refusal(write(folder, GOOD, header=HEADER.replace(missing, "other")))
    assert line.startswith(f"{folder / 'train.csv'}, row 1: column '{missing}' is missing")


@pytest.mark.parametrize("text", ["", "\n", "\ufeff", "a.png,f16,10,20,30,40\n"])
def test_a_table_without_a_header(folder: Path, text: str) -> None:
    (folder / "train.csv").write_text(text, encoding="utf-8")
    assert "row 1: column 'filename' is missing" in refusal(folder)


def test_a_table_without_rows(folder: Path) -> None:
    assert refusal(write(folder)) == f"{folder / 'train.csv'}: there is no labelled object in it"


@pytest.mark.parametrize("column", range(6))
@pytest.mark.parametrize("blank", ["", " "])
def test_an_empty_cell(folder: Path, column: int, blank: str) -> None:
    cells = GOOD.split(",")
    cells[column] = blank
    line = refusal(write(folder, "b.png,f15,1,1,5,5", ",".join(cells)))
    assert line == f"{folder / 'train.csv'}, row 3: '{HEADER.split(',')[column]}' is empty"


def test_spaces_around_cells_do_not_count(folder: Path) -> None:
    assert read(write(folder, "a.png , f16, 10, 20 ,30,40 ")) == read(write(folder, GOOD))


def test_a_row_that_ends_early(folder: Path) -> None:
    assert refusal(write(folder, "a.png,f16,10,20,30")) == f"{folder / 'train.csv'}, row 2: 'ymax' is empty"


@pytest.mark.parametrize("name", ["c.png", "no/a.png", "a.png/x", "a\0.png", "x" * 300, ".", ".."])
def test_a_missing_picture(folder: Path, name: str) -> None:
    line = refusal(write(folder, f"{name},f16,10,20,30,40"))
    assert line.startswith(f"{folder / 'train.csv'}, row 2: ")
    assert str(folder) in line


def test_a_missing_picture_says_which(folder: Path) -> None:
    line = refusal(write(folder, GOOD, "c.png,f16,10,20,30,40"))
    assert line == f"{folder / 'train.csv'}, row 3: there is no picture {folder / 'c.png'}"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a picture",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"P6\n2x 20\n255\n",  # Pillow raises ValueError for it
        b"<svg/>",
    ],
)
def test_an_unreadable_picture(folder: Path, content: bytes) -> None:
    (folder / "c.png").write_bytes(content)
    line = refusal(write(folder, GOOD, "c.png,f16,10,20,30,40"))
    assert line.startswith(f"{folder / 'train.csv'}, row 3: {folder / 'c.png'} is not a readable picture")


@pytest.mark.parametrize(
    ("box", "rule"),
    [
        ("30,20,10,40", "is empty; xmin < xmax, ymin < ymax"),
        ("10,40,30,20", "is empty; xmin < xmax, ymin < ymax"),
        ("10,20,10,40", "is empty"),
        ("10,20,30,20", "is empty"),
        ("nan,20,30,40", "a box is four numbers, not ["),
        ("10,nan,30,40", "a box is four numbers, not ["),
        ("10,20,nan,40", "a box is four numbers, not ["),
        ("10,20,30,nan", "a box is four numbers, not ["),
        ("-inf,20,30,40", "is outside its 80x60 picture a.png"),
        ("10,20,inf,40", "is outside its 80x60 picture a.png"),
        ("10,20,30,1e999", "is outside its 80x60 picture a.png"),
        ("-1,20,30,40", "is outside its 80x60 picture a.png"),
        ("10,-0.5,30,40", "is outside its 80x60 picture a.png"),
        ("10,20,81,40", "is outside its 80x60 picture a.png"),
        ("10,20,30,60.5", "is outside its 80x60 picture a.png"),
        ("ten,20,30,40", "a box is four numbers, not ['ten', '20', '30', '40']"),
        ("10,20,30,4O", "a box is four numbers"),
    ],
)
def test_a_bad_box(folder: Path, box: str, rule: str) -> None:
    line = refusal(write(folder, "b.png,f15,1,1,5,5", f"a.png,f16,{box}"))
    assert line.startswith(f"{folder / 'train.csv'}, row 3: ")
    assert rule in line


def test_a_bad_box_is_found_behind_a_larger_good_one(folder: Path) -> None:
    assert "row 3" in refusal(write(folder, "a.png,f16,0,0,80,60", "a.png,f16,5,5,4,6"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfe\x00a", "row 1: it is in UTF-16; save the file as UTF-8"),
        (
            f"{HEADER}\na.png,se\xf1al,1,1,2,2\n".encode("latin-1"),
            "row 2: byte 0xf1 is not UTF-8; save the file as UTF-8",
        ),
    ],
)
def test_a_table_that_is_not_utf_8(folder: Path, content: bytes, says: str) -> None:
    (folder / "train.csv").write_bytes(content)
    assert refusal(folder) == f"{folder / 'train.csv'}, {says}"


@pytest.mark.parametrize("name", ["c.png", "x" * 300, "broken.png"])
def test_test_csv_with_a_picture_that_is_not_one(folder: Path, name: str) -> None:
    (folder / "broken.png").write_bytes(b"")
    write(folder, GOOD)
    write(folder, "b.png", name, header="filename", table="test.csv")
    line = refusal(folder)
    assert line.startswith(f"{folder / 'test.csv'}, row 3: ")
    assert str(folder / name) in line


def test_test_csv_without_its_column(folder: Path) -> None:
    write(folder, GOOD)
    write(folder, "b.png", header="image", table="test.csv")
    assert refusal(folder).startswith(f"{folder / 'test.csv'}, row 1: column 'filename' is missing")


def test_a_class_that_a_reader_gives_as_a_number_is_a_fault_of_its_row(folder: Path) -> None:
    row = reading.Row("labels.jsonl, row 3", "a.png", (folder,), label=5)  # type: ignore[arg-type]
    with pytest.raises(reading.Fault, match=r"labels\.jsonl, row 3: the class 5 is no text"):
        locate(row, folder, lambda _: {})


def test_a_fingerprint_moves_with_its_data_and_changes_with_it(tmp_path: Path) -> None:
    first = sample.write(tmp_path / "first", labelled=6, unlabelled=0)
    second = Path(shutil.copytree(first, tmp_path / "second"))
    mark = fingerprint(read(first).labelled)
    assert re.fullmatch("[0-9a-f]{16}", mark)
    assert fingerprint(read(second).labelled) == mark
    table = (second / "train.csv").read_text()
    (second / "train.csv").write_text(table.replace("f16", "f61", 1))
    assert fingerprint(read(second).labelled) != mark
    (second / "train.csv").write_text(table)
    assert fingerprint(read(second).labelled) == mark
    picture = next((second / "images").iterdir())
    Image.new("RGB", (640, 360)).save(picture)
    assert fingerprint(read(second).labelled) != mark
