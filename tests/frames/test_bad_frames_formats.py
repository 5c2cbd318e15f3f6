"""Whatever is wrong in COCO, Pascal VOC or YOLO, one line says where and which rule; the others are still counted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from folders import Bad, Change, both, coco, gone, half, held, instead, patched, put, recoded, swap, voc, yolo

pytestmark = pytest.mark.timeout(60)  # a pipe that is read is read for ever

NO_FILE = "it is a folder, a pipe or a device; it must be a file"


def image(key: str, to: Any) -> Change:
    return patched("images", 2, key, to=to)


def category(key: str, to: Any) -> Change:
    return patched("categories", 1, key, to=to)


def thing(key: str, to: Any) -> Change:
    return patched("annotations", 2, key, to=to)


def bbox(text: str) -> Change:
    """JSON as it stands there."""
    return both(thing("bbox", "HERE"), swap("coco.json", '"HERE"', text))


NOT_FOUR = "'bbox' is four numbers (x, y, width, height), not"
NO_ID = "it must be a number or text that no other image has"
COCO = [
    Bad(name, coco, change, f"D/coco.json{line}", good)
    for name, change, line, good in (
        ("cut in the middle", half("coco.json"), ", row 1: not JSON (…)", 0),
        ("empty", put("coco.json", ""), ", row 1: not JSON (Expecting value)", 0),
        ("null", put("coco.json", "null"), ": not COCO: it must hold an object with images, categories and …", 0),
        ("list", put("coco.json", "[]"), ": not COCO: it must hold an object with images, categories and …", 0),
        ("a comma too many", swap("coco.json", "]}]}", "]},\n]}"), ", row …: not JSON (…)", 0),
        ("100,000 brackets", put("coco.json", "[" * 100_000), ": not JSON (maximum recursion depth exceeded…", 0),
        ("number of 5000 digits", bbox("9" * 5000), ": not JSON (Exceeds the limit …)", 0),
        ("UTF-16", recoded("coco.json", "utf-16"), ", row 1: it is in UTF-16; save the file as UTF-8", 0),
        ("latin-1", recoded("coco.json", "latin-1", "f16", "señal"), ", row 1: byte 0xf1 is not UTF-8; save the …", 0),
        ("folder", instead("coco.json", Path.mkdir), f": {NO_FILE}", 0),
        ("pipe", instead("coco.json", os.mkfifo), f": {NO_FILE}", 0),
        ("images null", patched("images", to=None), ": not COCO: 'images' must be a list of objects", 0),
        ("categories text", patched("categories", to="f16"), ": not COCO: 'categories' must be a list of objects", 0),
        ("annotations object", patched("annotations", to={"1": 1}), ": not COCO: 'annotations' must be a list of …", 0),
        ("category null", patched("categories", 1, to=None), ", categories[1]: a category has an id and a name, …", 0),
        ("category id list", category("id", [2]), ", categories[1]: a category has an id and …, not [2] and 'f16'", 0),
        ("category blank", category("name", " "), ", categories[1]: a category has an id and a name, not 2 and ' '", 0),
        ("category id twice", category("id", 1), ", categories[1]: there is another category of the id 1 or …", 0),
        ("category twice", category("name", "f15 "), ", categories[1]: there is another category of … 'f15 '", 0),
        ("image null", patched("images", 2, to=None), ", images[2]: 'file_name' is None; it must name a picture", 2),
        ("image text", patched("images", 2, to="c.png"), ", images[2]: 'file_name' is None; it must name a picture", 2),
        ("name null", image("file_name", None), ", images[2]: 'file_name' is None; it must name a picture", 2),
        ("name blank", image("file_name", " "), ", images[2]: 'file_name' is ' '; it must name a picture", 2),
        ("name list", image("file_name", ["c.png"]), ", images[2]: 'file_name' is ['c.png']; it must name a …", 2),
        ("name leaves", image("file_name", "../../c.png"), ", annotations[2]: the picture ../../c.png leaves the …", 2),
        (
            "name is half a letter",
            image("file_name", "\ud800"),
            r", annotations[2]: the name \ud800 holds characters …",
            2,
        ),
        ("name twice", image("file_name", "b.png "), ", images[2]: there is another image b.png", 2),
        ("no such picture", image("file_name", "d.png"), ", annotations[2]: there is no picture D/images/d.png", 2),
        ("another size", image("width", 60), ", annotations[2]: its size is stated as 60x60, but c.png is 80x60", 2),
        ("id null", image("id", None), f", images[2]: 'id' is None; {NO_ID}", 2),
        ("id true", image("id", True), f", images[2]: 'id' is True; {NO_ID}", 2),
        ("id list", image("id", [[3]]), f", images[2]: 'id' is [[3]]; {NO_ID}", 2),
        ("id twice", image("id", 2), f", images[2]: 'id' is 2; {NO_ID}", 2),
        (
            "annotation null",
            patched("annotations", 2, to=None),
            ", annotations[2]: 'image_id' is None, which none …",
            2,
        ),
        ("unknown image", thing("image_id", 9), ", annotations[2]: 'image_id' is 9, which none of the images has", 2),
        ("image of lists", thing("image_id", [[3]]), ", annotations[2]: 'image_id' is [[3]], which none of the …", 2),
        ("unknown category", thing("category_id", 9), ", annotations[2]: 'category_id' is 9; … are 1 f15, 2 f16", 2),
        ("category as text", thing("category_id", "2"), ", annotations[2]: 'category_id' is '2'; … 1 f15, 2 f16", 2),
        ("category missing", thing("category_id", None), ", annotations[2]: 'category_id' is None; the …", 2),
        ("box null", thing("bbox", None), f", annotations[2]: {NOT_FOUR} None", 2),
        ("box text", thing("bbox", "1 1 9 9"), f", annotations[2]: {NOT_FOUR} '1 1 9 9'", 2),
        ("box of three", thing("bbox", [1, 1, 9]), f", annotations[2]: {NOT_FOUR} [1, 1, 9]", 2),
        ("box of true", thing("bbox", [1, 1, 9, True]), f", annotations[2]: {NOT_FOUR} [1, 1, 9, True]", 2),
        ("box of lists", thing("bbox", [[1, 1], [9, 9]]), f", annotations[2]: {NOT_FOUR} [[1, 1], [9, 9]]", 2),
        ("box of 900 lists", bbox("[" * 900 + "]" * 900), f", annotations[2]: {NOT_FOUR} [[[[[[[...]]]]]]]", 2),
        ("box nan", bbox("[NaN, 1, 9, 9]"), f", annotations[2]: {NOT_FOUR} [nan, 1, 9, 9]", 2),
        ("box of 401 digits", bbox(f"[1, 1, 9, 1{'0' * 400}]"), f", annotations[2]: {NOT_FOUR} [1, 1, 9, 100000…]", 2),
        ("box inf", bbox("[1, 1, Infinity, 9]"), ", annotations[2]: box (1, 1, inf, 10) is outside its 80x60 …", 2),
        ("box of no width", thing("bbox", [1, 1, 0, 9]), ", annotations[2]: box (1, 1, 1, 10) is empty; …", 2),
        ("box backwards", thing("bbox", [9, 9, -8, 9]), ", annotations[2]: box (9, 9, 1, 18) is empty; …", 2),
        ("box outside", thing("bbox", [1, 1, 80, 9]), ", annotations[2]: box (1, 1, 81, 10) is outside its …", 2),
    )
]

XML = "annotations/c.xml"
OUT = "<xmax>40</xmax>"
LAUGHS = '<!DOCTYPE a [<!ENTITY l0 "ha">{}]><annotation><filename>&l9;</filename></annotation>'.format(
    "".join(f'<!ENTITY l{number} "{f"&l{number - 1};" * 10}">' for number in range(1, 10))
)
BLOATED = f'<!DOCTYPE a [<!ENTITY l "{"ha" * 50_000}">]><annotation><filename>{"&l;" * 10_000}</filename></annotation>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation><filename>&x;</filename></annotation>'
OBJECT = f"<object><name>f16</name><bndbox><xmin>2</xmin><ymin>3</ymin>{OUT}<ymax>50</ymax></bndbox></object>"
EMPTY = "<annotation><filename>c.png</filename><object/></annotation>"
DEEP = f"<annotation><filename>{'<a>' * 50_000}{'</a>' * 50_000}</filename></annotation>"


def listed(**parts: bytes) -> Change:
    def change(folder: Path) -> None:
        (folder / "ImageSets" / "Main").mkdir(parents=True)
        for name, content in parts.items():
            (folder / "ImageSets" / "Main" / f"{name}.txt").write_bytes(content)

    return change


VOC = [
    Bad(name, voc, change, f"D/{line}", good)
    for name, change, line, good in (
        ("cut in the middle", half(XML), f"{XML}, row 1: not XML (…)", 2),
        ("empty", put(XML, ""), f"{XML}, row 1: not XML (no element found: line 1, column 0)", 2),
        ("billion laughs", put(XML, LAUGHS), f"{XML}, row 1: not XML (limit on input amplification …)", 2),
        ("bloated entity", put(XML, BLOATED), f"{XML}, row 1: not XML (limit on input amplification …)", 2),
        ("entity from outside", put(XML, OUTSIDE), f"{XML}, row 1: not XML (undefined entity &x;…)", 2),
        (
            "50,000 elements deep",
            put(XML, DEEP),
            f"{XML}: not Pascal VOC: it must be an <annotation> with a <filename>",
            2,
        ),
        (
            "another root",
            swap(XML, "annotation", "page"),
            f"{XML}: not Pascal VOC: it must be an <annotation> with …",
            2,
        ),
        ("no filename", swap(XML, "c.png", ""), f"{XML}: not Pascal VOC: it must be an <annotation> with a …", 2),
        ("unknown encoding", put(XML, "<?xml version='1.0' encoding='klingon'?><a/>"), f"{XML}…: not XML (…)", 2),
        ("encoding of its own", put(XML, "<?xml version='1.0' encoding='utf-7'?><a/>"), f"{XML}…: not XML (…)", 2),
        ("latin-1 undeclared", recoded(XML, "latin-1", "f16", "señal"), f"{XML}, row 1: not XML (…)", 2),
        ("pipe", instead(XML, os.mkfifo), f"{XML}: {NO_FILE}", 2),
        ("folder", instead(XML, Path.mkdir), f"{XML}: {NO_FILE}", 2),
        ("no class", swap(XML, "f16", " "), f"{XML}, object 1: its <name> is empty", 2),
        ("object empty", put(XML, EMPTY), f"{XML}, object 1: its <name> is empty", 2),
        ("no xmax", swap(XML, OUT, ""), f"{XML}, object 1: a box is four numbers, not ['2', '3', None, '50']", 2),
        ("box text", swap(XML, ">40<", ">x<"), f"{XML}, object 1: a box is four numbers, not ['2', '3', 'x', '50']", 2),
        ("box nan", swap(XML, ">40<", ">NaN<"), f"{XML}, object 1: a box is four numbers, not ['2', '3', 'NaN', …", 2),
        ("box inverted", swap(XML, ">40<", ">1<"), f"{XML}, object 1: box (2, 3, 1, 50) is empty; xmin < xmax, …", 2),
        ("box outside", swap(XML, ">40<", ">81<"), f"{XML}, object 1: box (2, 3, 81, 50) is outside its 80x60 …", 2),
        ("another size", swap(XML, ">60<", ">80<"), f"{XML}, object 1: its size is stated as 80x80, but c.png is …", 2),
        ("no such picture", swap(XML, "c.png", "d.png"), f"{XML}, object 1: there is no picture D/images/d.png", 2),
        ("name leaves", swap(XML, "c.png", "/c.png"), f"{XML}, object 1: the picture /c.png leaves the folder D", 2),
        ("same object", swap(XML, OBJECT, OBJECT * 2), f"{XML}, object 2: the same object of c.png is in … already", 2),
        ("list in latin-1", listed(train=b"a\nb\xf1"), "ImageSets/Main/train.txt, row 2: byte 0xf1 is not UTF-8; …", 3),
        (
            "in two lists",
            listed(train=b"a\nb", val=b"c\n\nb 1"),
            "ImageSets/Main/train.txt, row 2: b is of the part …",
            3,
        ),
    )
]

TEXT = "labels/c.txt"
NAMES = "'names' must list the names of the classes, in the order of their numbers from 0"
BOMB = "l0: &l0 [ha]\n" + "".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 10))
MERGED = "l0: &l0 {a: ha}\n" + "".join(
    f"l{n}: &l{n} {{<<: [{', '.join([f'*l{n - 1}'] * 10)}], k{n}: ha}}\n" for n in range(1, 10)
)


def line(text: str) -> Change:
    return put(TEXT, text)


def names(text: str) -> Change:
    return put("data.yaml", text)


FORM = f"{TEXT}, row 1: it must be a class and four numbers (x, y, width, height), not"
CLASSES = "is unknown; there are 0 f15, 1 f16"
YOLO = [
    Bad(name, yolo, change, f"D/{line}", good)
    for name, change, line, good in (
        ("three numbers", line("1 .5 .5 .2"), f"{FORM} '1 .5 .5 .2'", 2),
        ("five numbers", line("1 .5 .5 .2 .2 .9"), f"{FORM} '1 .5 .5 .2 .2 .9'", 2),
        ("outline", line("1 .1 .1 .2 .1 .2 .2"), f"{FORM} '1 .1 .1 .2 .1 .2 .2'", 2),
        ("a number", line("1"), f"{FORM} '1'", 2),
        ("commas", line("1,.5,.5,.2,.2"), f"{FORM} '1,.5,.5,.2,.2'", 2),
        ("text", line("1 .5 .5 .2 wide"), f"{FORM} '1 .5 .5 .2 wide'", 2),
        ("nan", line("1 nan .5 .2 .2"), f"{FORM} '1 nan .5 .2 .2'", 2),
        (
            "inf",
            line("1 inf .5 .2 .2"),
            f"{TEXT}, row 1: box (inf, 0.4, inf, 0.6) is outside its 80x60 picture c.png",
            2,
        ),
        ("class below", line("-1 .5 .5 .2 .2"), f"{TEXT}, row 1: class -1 {CLASSES}", 2),
        ("class above", line("2 .5 .5 .2 .2"), f"{TEXT}, row 1: class 2 {CLASSES}", 2),
        ("class float", line("1.0 .5 .5 .2 .2"), f"{TEXT}, row 1: class 1.0 {CLASSES}", 2),
        ("class by name", line("f16 .5 .5 .2 .2"), f"{TEXT}, row 1: class f16 {CLASSES}", 2),
        ("class of 5000 digits", line(f"{'9' * 5000} .5 .5 .2 .2"), f"{TEXT}, row 1: class 999…999 {CLASSES}", 2),
        ("outside", line("\n1 .95 .5 .2 .2"), f"{TEXT}, row 2: box (0.85, 0.4, 1.05, 0.6) is outside its 80x60 …", 2),
        ("pixels", line("1 40 30 20 20"), f"{TEXT}, row 1: box (30, 20, 50, 40) is outside its 80x60 picture c.png", 2),
        ("no width", line("1 .5 .5 0 .2"), f"{TEXT}, row 1: box (0.5, 0.4, 0.5, 0.6) is empty; xmin < xmax, …", 2),
        ("negative width", line("1 .5 .5 -.2 .2"), f"{TEXT}, row 1: box (0.6, 0.4, 0.4, 0.6) is empty; xmin < …", 2),
        (
            "beside the edge",
            line("1 -2e-6 .5 2e-6 .2"),
            f"{TEXT}, row 1: box (-3e-06, 0.4, -1e-06, 0.6) is empty; …",
            2,
        ),
        ("same object", line("1 .5 .5 .2 .2\n1 .5 .5 .2 .2\n"), f"{TEXT}, row 2: the same object of c.png is in …", 2),
        ("no picture", put("labels/d.txt", "1 .5 .5 .2 .2"), "labels/d.txt, row 1: there is no picture D/images/d", 3),
        ("UTF-16", recoded(TEXT, "utf-16"), f"{TEXT}, row 1: it is in UTF-16; save the file as UTF-8", 2),
        ("not text", put(TEXT, b"1 .5\n\x80"), f"{TEXT}, row 2: byte 0x80 is not UTF-8; save the file as UTF-8", 2),
        ("pipe", instead(TEXT, os.mkfifo), f"{TEXT}: {NO_FILE}", 2),
        ("folder", instead(TEXT, Path.mkdir), f"{TEXT}: {NO_FILE}", 2),
        ("names cut", names("names: [f15, f"), "data.yaml, row 1: not YAML (…)", 0),
        ("names with tabs", names("names:\n\t- f15"), "data.yaml, row 2: not YAML (…)", 0),
        ("names not printable", names("names: [f15, \x1b]"), "data.yaml: not YAML (…)", 0),
        ("names empty", names(""), f"data.yaml: {NAMES}", 0),
        ("names a word", names("names: f16"), f"data.yaml: {NAMES}", 0),
        ("names a list of lists", names("names: [[f15], [f16]]"), f"data.yaml: {NAMES}", 0),
        ("names a bomb", names(f"{BOMB}names: *l9"), f"data.yaml: {NAMES}", 0),
        ("names a merged bomb", names(f"{MERGED}names: *l9"), f"data.yaml: {NAMES}", 0),
        ("names in themselves", names("names: &l [f15, *l]"), "data.yaml, row 1: not YAML (…)", 0),
        ("names very deep", names("[" * 500), "data.yaml: not YAML (maximum recursion depth exceeded…)", 0),
        ("names with a gap", names("names: {0: f15, 2: f16}"), f"data.yaml: {NAMES}", 0),
        ("names blank", names("names: [f15, ' ']"), f"data.yaml: {NAMES}", 0),
        ("names twice", names("names: [f16, f16]"), "data.yaml: there are two classes 'f16'", 0),
        ("names in UTF-16", recoded("data.yaml", "utf-16"), "data.yaml, row 1: it is in UTF-16; save the file as …", 0),
        ("names in a pipe", instead("data.yaml", os.mkfifo), f"data.yaml: {NO_FILE}", 0),
        (
            "names with an empty line",
            both(gone("data.yaml"), put("classes.txt", "f15\n\nf16")),
            f"classes.txt: {NAMES}",
            0,
        ),
    )
]


YOLO.append(Bad("no names", yolo, gone("data.yaml"), "D: no names of classes there: none of data.yaml, …", 0))


@pytest.mark.parametrize("bad", COCO + VOC + YOLO, ids=str)
def test_one_line_says_what_is_wrong(bad: Bad, tmp_path: Path) -> None:
    held(bad, tmp_path)


def test_names_are_text_and_never_run(tmp_path: Path) -> None:
    yolo_bad = Bad("", yolo, names(f"names: !!python/object/apply:os.mkdir [{tmp_path / 'made'}, f16]"), "")
    yolo_bad.make(tmp_path)
    assert not (tmp_path / "made").exists()
