"""Pascal VOC: an XML file for each picture, boxes in pixels.

Boxes are taken as written: VOC itself counts pixels from 1, but the tools that write its format count from 0.
`ImageSets/Main/train.txt`, `val.txt` and `test.txt`, or folders of these names, say which part a picture is of.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from milair.errors import first_line
from milair.frames.readers.rows import (
    PART_FOLDERS,
    Broken,
    Fault,
    Row,
    Rows,
    box,
    content,
    each,
    part,
    part_of,
    picture_places,
    size,
    text,
    there,
    unnamed,
    with_parts,
)

_SIDES = ("xmin", "ymin", "xmax", "ymax")


def files(folder: Path) -> list[Path]:
    places = [folder / "annotations", folder / "Annotations", *with_parts(folder)]
    return [file for place in places for file in sorted(place.glob("*.xml"))]


def rows(folder: Path, files: Sequence[Path]) -> Rows:
    parts: dict[str, str | None] = {}
    lists = (folder / "ImageSets" / "Main" / f"{name}.txt" for name in PART_FOLDERS)
    yield from each((file for listed in lists for file in there(listed)), lambda file: _listed(file, parts))
    named = {file.stem for file in files}
    for row in each(files, lambda file: _objects(file, folder, parts.get(file.stem) or part_of(file, folder))):
        if isinstance(row, Row):
            named.add(Path(row.name).stem)
        yield row
    yield from unnamed(picture_places(folder, *(file.parent for file in files)), named)


def _listed(file: Path, parts: dict[str, str | None]) -> Rows:
    """Adds the pictures of a list to `parts`; a Fault for one that is in another part already."""
    its_part = part(file.stem)
    for number, line in enumerate(text(file).splitlines(), 1):
        for stem in line.split()[:1]:
            if parts.setdefault(stem, its_part) != its_part:
                yield Fault(
                    f"{file}, row {number}", f"{stem} is of the part {its_part}, and of {parts[stem]} elsewhere"
                )


def _objects(file: Path, folder: Path, its_part: str | None) -> Rows:
    try:
        root = ElementTree.fromstring(content(file))
    except ElementTree.ParseError as error:
        raise Broken(f"{file}, row {error.position[0]}", f"not XML ({first_line(error)})") from None
    except (ValueError, LookupError) as error:  # an encoding that Python does not know
        raise Broken(file, f"not XML ({first_line(error)})") from None
    name = (root.findtext("filename") or "").strip()
    if root.tag != "annotation" or not name:
        raise Broken(file, "not Pascal VOC: it must be an <annotation> with a <filename>")
    places = picture_places(folder, file.parent)
    stated = size(root.findtext("size/width"), root.findtext("size/height"))
    objects = root.findall("object")
    if not objects:
        yield Row(str(file), name, places, size=stated, part=its_part)
    for count, thing in enumerate(objects, 1):
        where = f"{file}, object {count}"
        label = (thing.findtext("name") or "").strip()
        sides = [thing.findtext(f"bndbox/{side}") for side in _SIDES]
        found = box(sides)
        if not label:
            yield Fault(where, "its <name> is empty")
        elif found is None:
            yield Fault(where, f"a box is four numbers, not {sides}")
        else:
            yield Row(where, name, places, label, found, size=stated, part=its_part)
