"""Pascal VOC: an XML file for each picture, boxes in pixels.

Boxes are taken as written: VOC itself counts pixels from 1, but the tools that write its format count from 0.
`ImageSets/Main/train.txt`, `val.txt` and `test.txt`, or folders of these names, say which part a picture is of.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from milair.frames.readers import reading, tables


def files(folder: Path) -> list[Path]:
    """XML files, and then the lists of parts if there are any."""
    places = (folder / "annotations", folder / "Annotations", *reading.with_parts(folder))
    documents = [file for place in places for file in sorted(place.glob("*.xml"))]
    lists = (folder / "ImageSets" / "Main" / f"{name}.txt" for name in reading.PART_FOLDERS)
    return documents and [*documents, *(file for listed in lists for file in reading.there(listed))]


def rows(folder: Path, files: Sequence[Path]) -> reading.Rows:
    documents, parts = [file for file in files if file.suffix == ".xml"], dict[str, str | None]()
    yield from reading.each(files[len(documents) :], lambda file: _parts(file, parts))
    objects = list(
        reading.each(
            documents, lambda file: _objects(file, folder, parts.get(file.stem) or reading.part_of(file, folder))
        )
    )
    yield from objects
    names = {Path(row.name).stem for row in objects if isinstance(row, reading.Row)}
    named = names | {file.stem for file in documents}
    yield from reading.unnamed(reading.picture_places(folder, *(file.parent for file in documents)), named)


def _parts(file: Path, parts: dict[str, str | None]) -> reading.Rows:
    """Adds the pictures of a list to `parts`; a Fault for one that is in another part already."""
    its_part = reading.part(file.stem)
    for number, line in enumerate(reading.text(file).splitlines(), 1):
        for stem in line.split()[:1]:
            if parts.setdefault(stem, its_part) != its_part:
                yield reading.Fault(
                    f"{file}, row {number}", f"{stem} is of the part {its_part}, and of {parts[stem]} elsewhere"
                )


def _objects(file: Path, folder: Path, its_part: str | None) -> reading.Rows:
    root = reading.parsed(file, "XML", ElementTree.fromstring, reading.content(file))
    name = (root.findtext("filename") or "").strip()
    if root.tag != "annotation" or not name:
        raise reading.Fault(file, "not Pascal VOC: it must be an <annotation> with a <filename>")
    size = reading.size(root.findtext("size/width"), root.findtext("size/height"))
    row = reading.Row(str(file), name, reading.picture_places(folder, file.parent), size=size, part=its_part)
    objects = [(f"{file}, object {count}", thing) for count, thing in enumerate(root.findall("object"), 1)]
    yield from reading.each(objects, lambda item: [_object(*item, row)]) if objects else [row]


def _object(where: str, thing: ElementTree.Element, row: reading.Row) -> reading.Row:
    label = (thing.findtext("name") or "").strip()
    if not label:
        raise reading.Fault(where, "its <name> is empty")
    sides = [thing.findtext(f"bndbox/{side}") for side in tables.BOX]
    return replace(row, where=where, label=label, box=reading.box(sides, where, f"a box is four numbers, not {sides}"))
