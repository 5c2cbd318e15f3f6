"""Whatever is wrong in a table, one line says where and which rule; the other frames are still counted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from folders import (
    HEIGHT,
    WIDTH,
    Bad,
    Change,
    both,
    competition,
    gone,
    half,
    held,
    instead,
    put,
    recoded,
    single,
    swap,
    with_split,
)
from PIL import Image

from milair import MilairError, data, search
from milair.frames.read import check

pytestmark = pytest.mark.timeout(60)  # a pipe that is read is read for ever

HEADER = "filename,class,xmin,ymin,xmax,ymax"
SIZED = "filename,width,height,class,xmin,ymin,xmax,ymax"
THIRD = "c.png,f16,2,3,40,50"
NO_FILE = "it is a folder, a pipe or a device; it must be a file"


def listed(*rows: str) -> Change:
    return put("test.csv", "\n".join(["filename", *rows]))


def split(*rows: str, header: str = "filename,split") -> Change:
    return put("split.csv", "\n".join([header, *rows]))


def parted(old: str, new: str) -> Change:
    return swap("labels_with_split.csv", old, new)


def another(name: str) -> Change:
    """A picture more."""

    def change(folder: Path) -> None:
        (folder / "images" / name).parent.mkdir(exist_ok=True)
        Image.new("1", (WIDTH, HEIGHT)).save(folder / "images" / name)

    return change


RULES = (  # a third row of train.csv, and what is said of it
    ("box outside, right", "c.png,f16,1,1,99,9", "box (1, 1, 99, 9) is outside its 80x60 picture c.png"),
    ("box outside, left", "c.png,f16,-1,1,9,9", "box (-1, 1, 9, 9) is outside its 80x60 picture c.png"),
    ("box outside, below", "c.png,f16,1,1,9,60.5", "box (1, 1, 9, 60.5) is outside its 80x60 picture c.png"),
    ("box inverted", "c.png,f16,9,1,1,9", "box (9, 1, 1, 9) is empty; xmin < xmax, ymin < ymax"),
    ("box empty", "c.png,f16,1,9,9,9", "box (1, 9, 9, 9) is empty; xmin < xmax, ymin < ymax"),
    ("box of nothing", "c.png,f16,0,0,5e-324,9", "box (0, 0, 4.94066e-324, 9) is empty; xmin < xmax, ymin < ymax"),
    ("box inf", "c.png,f16,1,1,inf,9", "box (1, 1, inf, 9) is outside its 80x60 picture c.png"),
    ("box too large a number", "c.png,f16,1,1,9,1e999", "box (1, 1, 9, inf) is outside its 80x60 picture c.png"),
    ("box nan", "c.png,f16,nan,1,9,9", "a box is four numbers, not ['nan', '1', '9', '9']"),
    ("box text", "c.png,f16,1,1,9,nine", "a box is four numbers, not ['1', '1', '9', 'nine']"),
    ("box with a decimal comma", 'c.png,f16,1,1,9,"9,5"', "a box is four numbers, not ['1', '1', '9', '9,5']"),
    ("box with a thousands mark", "c.png,f16,1,1,1_0,9", "a box is four numbers, not ['1', '1', '1_0', '9']"),
    ("box hexadecimal", "c.png,f16,1,1,0x9,9", "a box is four numbers, not ['1', '1', '0x9', '9']"),
    ("box of 5000 digits", f"c.png,f16,1,1,9,{'9' * 5000}", "box (1, 1, 9, inf) is outside its 80x60 picture c.png"),
    ("class missing", "c.png,,1,1,9,9", "'class' is empty"),
    ("class blank", "c.png, \t,1,1,9,9", "'class' is empty"),
    ("picture missing in the row", ",f16,1,1,9,9", "'filename' is empty"),
    ("row too short", "c.png,f16,1,1,9", "'ymax' is empty"),
    ("row too long", "c.png,f16,1,1,9,9,9", "it has more cells than the header, which has 6"),
    ("no such picture", "d.png,f16,1,1,9,9", "there is no picture D/images/d.png"),
    ("picture that is a URL", "http://x/c.png,f16,1,1,9,9", "there is no picture D/images/http:/x/c.png"),
    ("path upwards", "../c.png,f16,1,1,9,9", "the picture ../c.png leaves the folder D"),
    ("path that leaves", "../../c.png,f16,1,1,9,9", "the picture ../../c.png leaves the folder D"),
    ("path that leaves and returns", "../../../tmp/c.png,f16,1,1,9,9", "the picture ../../../tmp/c.png leaves…"),
    ("path absolute", "/etc/passwd,f16,1,1,9,9", "the picture /etc/passwd leaves the folder D"),
    ("path with a drive", r"C:\frames\c.png,f16,1,1,9,9", r"the picture C:\frames\c.png leaves the folder D"),
    ("path with a drive only", "C:c.png,f16,1,1,9,9", "the picture C:c.png leaves the folder D"),
    ("path with backslashes", r"..\..\c.png,f16,1,1,9,9", r"the picture ..\..\c.png leaves the folder D"),
    ("path of a network", r"\\server\c.png,f16,1,1,9,9", r"the picture \\server\c.png leaves the folder D"),
    ("picture that is a folder", ".,f16,1,1,9,9", "D/images is a folder, a pipe or a device; it must be a file"),
    ("picture below a picture", "c.png/c.png,f16,1,1,9,9", "there is no picture D/images/c.png/c.png"),
    ("name of 300 letters", f"{'x' * 300},f16,1,1,9,9", "there is no picture D/images/xxx…xxx"),
    ("name of 5000 letters", f"{'x' * 5000},f16,1,1,9,9", "there is no picture D/images/xxx… …xxx"),
    ("name with a null", "c\0.png,f16,1,1,9,9", r"the name c\x00.png holds characters that cannot be printed; …"),
    ("name with a line feed", '"c\n.png",f16,1,1,9,9', r"the name c\n.png holds characters that cannot be printed; …"),
    ("class that writes in red", "c.png,\x1b[31mf16,1,1,9,9", r"the name \x1b[31mf16 holds characters …; rename it"),
    ("class from right to left", "c.png,\u202e61f,1,1,9,9", r"the name \u202e61f holds characters …; rename it"),
    ("same object", "b.png,f15,1,1,5,5", "the same object of b.png is in D/train.csv, row 3 already"),
    ("same, spelt differently", "./b,f15,1.0,1,5,5", "the same object of b.png is in D/train.csv, row 3 already"),
)
ROWS = [
    Bad(name, competition, swap("train.csv", THIRD, row), f"D/train.csv, row 4: {rule}", 1 if "same" in name else 2)
    for name, row, rule in RULES
]

QUOTES = "are its quotes in pairs?"
NEEDED = f"needed are {HEADER}"
TABLES = [
    Bad(f"train.csv, {name}", competition, change, f"D/train.csv{line}", good)
    for name, change, line, good in (
        ("quote", swap("train.csv", THIRD, f'"{THIRD}'), f", row 4: not CSV (unexpected end of data); {QUOTES}", 2),
        ("quote inside", swap("train.csv", "c.png", '"c".png'), f", row 4: not CSV (…); {QUOTES}", 2),
        ("cell endless", swap("train.csv", "c.png", "c" * 200_000), f", row 4: not CSV (field larger…); {QUOTES}", 2),
        ("latin-1", recoded("train.csv", "latin-1", THIRD, "c.png,señal,2,3,40,50"), ", row 4: byte 0xf1 is not …", 0),
        ("UTF-16", recoded("train.csv", "utf-16"), ", row 1: it is in UTF-16; save the file as UTF-8", 0),
        ("zipped", put("train.csv", b"PK\3\4\xff\0"), ", row 1: byte 0xff is not UTF-8; save the file as UTF-8", 0),
        ("semicolons", swap("train.csv", ",", ";"), f", row 1: columns are separated by ';'; write ','; {NEEDED}", 0),
        ("tabs", swap("train.csv", ",", "\t"), rf", row 1: columns are separated by '\t'; write ','; {NEEDED}", 0),
        ("bars", swap("train.csv", ",", "|"), f", row 1: columns are separated by '|'; write ','; {NEEDED}", 0),
        ("no class", swap("train.csv", "class", "kind"), f", row 1: column 'class' is missing; {NEEDED}", 0),
        ("no header", put("train.csv", THIRD), f", row 1: column 'filename' is missing; {NEEDED}", 0),
        ("empty", put("train.csv", ""), f", row 1: column 'filename' is missing; {NEEDED}", 0),
        ("no rows", put("train.csv", HEADER), ": there is no labelled object in it", 0),
        ("two columns", swap("train.csv", HEADER, f"{HEADER},class"), ", row 1: there are two columns 'class'", 0),
        ("folder", instead("train.csv", Path.mkdir), f": {NO_FILE}", 0),
        ("pipe", instead("train.csv", os.mkfifo), f": {NO_FILE}", 0),
        ("endless device", instead("train.csv", lambda file: file.symlink_to("/dev/zero")), f": {NO_FILE}", 0),
        ("link to nothing", instead("train.csv", lambda file: file.symlink_to("no")), ": cannot be read (No such …", 0),
    )
]


TWO = swap("train.csv", THIRD, "b,f16,2,2,9,9")
ALL_TWO = put("train.csv", f"{HEADER}\na,f16,1,1,9,9\na,f16,2,2,9,9\n")
SECOND = "D/train.csv, row 4: a second object in b.png, after that in D/train.csv, row 3; --objects largest takes the…"
UNUSED = "there is no labelled object in it that is used: its frames have several objects each, or are of the part test"
OBJECTS = [
    Bad("twice in test.csv", competition, listed("a.png", "a"), "D/test.csv, row 3: a.png is in D/test.csv, row 2 …"),
    Bad("two objects", competition, TWO, SECOND, 1, "error"),
    Bad("two objects everywhere", competition, ALL_TWO, f"D/train.csv: {UNUSED}", 0, "skip"),
    Bad(
        "two pictures of a name",
        competition,
        both(swap("train.csv", "c.png", "c"), another("c.gif")),
        "D/train.csv, row 4: the picture c may be c.gif or c.png; write its suffix",
    ),
]

PART = "it must be train, validation or test, or the number of a fold"
SPLITS = [
    Bad(f"{file}, {name}", competition, change, f"D/{file}{line}", 3)
    for file, name, change, line in (
        ("test.csv", "no such picture", listed("a.png", "d.png"), ", row 3: there is no picture D/images/d.png"),
        ("test.csv", "another column", put("test.csv", "image\na"), ", row 1: column 'filename' is missing; …"),
        (
            "test.csv",
            "a path that leaves",
            listed("../../a.png"),
            ", row 2: the picture ../../a.png leaves the folder D",
        ),
        ("test.csv", "pipe", lambda folder: os.mkfifo(folder / "test.csv"), f": {NO_FILE}"),
        ("split.csv", "no such picture", split("a,val", "d,train"), ", row 3: no annotation names the picture d"),
        ("split.csv", "another part", split("a,val", "b,dev"), f", row 3: split is 'dev'; {PART}"),
        ("split.csv", "no part", split("a,val", "b,"), ", row 3: 'split' is empty"),
        ("split.csv", "twice", split("a,val", "a,train"), ", row 3: a is in D/split.csv, row 2 already"),
        ("split.csv", "twice, spelt differently", split("a,val", "a.png,val"), ", row 3: a.png is in … row 2 already"),
        ("split.csv", "no column", split("a,val", header="filename,part"), ", row 1: column 'split' is missing; …"),
        (
            "split.csv",
            "semicolons",
            split("a;val", header="filename;split"),
            ", row 1: columns are separated by ';'; …",
        ),
        ("split.csv", "UTF-16", both(split("a,val"), recoded("split.csv", "utf-16")), ", row 1: it is in UTF-16; …"),
        ("split.csv", "folder", lambda folder: (folder / "split.csv").mkdir(), f": {NO_FILE}"),
        ("split.csv", "quote", split('"a,val', "b,train"), f", row 2: not CSV (unexpected end of data); {QUOTES}"),
    )
]
BOTH_PARTS = swap("labels_with_split.csv", "c,80,60,f16", "b,80,60,f16")
WITH_SPLIT = [
    Bad(name, with_split, change, f"D/labels_with_split.csv{line}", good)
    for name, change, line, good in (
        ("another part", parted("50,train", "50,dev"), f", row 4: split is 'dev'; {PART}", 2),
        ("no part", parted("50,train", "50,"), ", row 4: 'split' is empty", 2),
        ("size text", parted("c,80", "c,wide"), ", row 4: a size is two numbers, not ['wide', '60']", 2),
        ("size nan", parted("c,80", "c,nan"), ", row 4: a size is two numbers, not ['nan', '60']", 2),
        ("another size", parted("c,80", "c,81"), ", row 4: its size is stated as 81x60, but c.png is 80x60", 2),
        ("two parts", both(BOTH_PARTS, parted("50,train", "50,val")), ", row 4: b.png is of the part validation, …", 1),
        ("all of the part test", parted(",train", ",test"), f": {UNUSED}", 0),
        (
            "UTF-16",
            recoded("labels_with_split.csv", "utf-16-le", "filename", "\ufefffilename"),
            ", row 1: it is in…",
            0,
        ),
        ("cut in the middle", half("labels_with_split.csv"), ", row 2: 'ymin' is empty", 0),
    )
]
SINGLE = [
    Bad(name, single, change, f"D/{line}", good)
    for name, change, line, good in (
        ("box outside", swap("c.csv", "40,50", "40,61"), "c.csv, row 2: box (2, 3, 40, 61) is outside its 80x60 …", 2),
        (
            "another size",
            swap("c.csv", "80,60", "60,80"),
            "c.csv, row 2: its size is stated as 60x80, but c.png is …",
            2,
        ),
        ("no such picture", swap("c.csv", "\nc", "\nd"), "c.csv, row 2: there is no picture D/images/d", 2),
        ("empty", put("c.csv", ""), "c.csv, row 1: column 'filename' is missing; …", 2),
        (
            "another table",
            put("d.csv", "a,b\n1,2"),
            f"d.csv, row 1: column 'filename' is missing; needed are {SIZED}",
            3,
        ),
        (
            "all in UTF-16",
            both(gone("b.csv"), gone("c.csv"), recoded("a.csv", "utf-16")),
            "a.csv, row 1: it is in UTF-16; …",
            0,
        ),
        ("pipe", instead("c.csv", os.mkfifo), f"c.csv: {NO_FILE}", 2),
        (
            "picture of two tables",
            put("d.csv", f"{SIZED}\na,80,60,f16,10,20,30,40"),
            "d.csv, row 2: the same object …",
            2,
        ),
    )
]


@pytest.mark.parametrize("bad", ROWS + TABLES + OBJECTS + SPLITS + WITH_SPLIT + SINGLE, ids=str)
def test_one_line_says_what_is_wrong(bad: Bad, tmp_path: Path) -> None:
    held(bad, tmp_path)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, rule in (
        ("no", "D/no: there is no such folder"),
        ("file", "D/file: there is no such folder"),
        (".", "D: no labelled frames there; milair reads train.csv"),
        ("a\nb", r"D/a\nb: a name with characters that cannot be printed; rename the folder"),
        (os.fsdecode(b"latin\xf1"), r"D/latin\udcf1: a name with characters that cannot be printed; rename the folder"),
    ):
        if name not in ("no", "file"):
            (tmp_path / name).mkdir(exist_ok=True)
        with pytest.raises(MilairError) as refused:
            check(tmp_path / name)
        assert str(refused.value).replace(str(tmp_path), "D").startswith(rule)


@pytest.mark.parametrize("bad", [ROWS[0], ROWS[-5], TABLES[4], TABLES[15], SPLITS[5]], ids=str)
def test_the_commands_say_the_same_line(bad: Bad, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = bad.make(tmp_path / "frames")
    assert data.main(["check", str(folder)]) == 1
    said = capsys.readouterr()
    line, *others = said.out.splitlines()  # the others describe the good frames
    assert not any("row" in other for other in others)
    assert bad.says(line, folder)
    assert said.err.startswith(f"milair: {folder}: 1 fault; {bad.good} labelled frames")
    assert len(said.err.splitlines()) == 1
    options = ["--study", "heads", "--data", str(folder), "--studies", str(tmp_path / "studies"), "--dry-run"]
    assert search.main(options) == 1
    assert capsys.readouterr().err == f"milair: {line}\n"
