"""COCO JSON: lists of `images`, `categories` and `annotations`, boxes as x, y, width, height in pixels.

Several files are parts of one set, as their names (instances_val2017.json) or their folders say.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from reprlib import repr as short  # of values that may be of any length and depth
from typing import Any

from milair.frames.readers import reading

_NAMED = re.compile(r"(^|[._-])(coco|instances)([._-]|$)")
Item = tuple[str, dict[str, Any]]  # where it is, and what it is


def files(folder: Path) -> list[Path]:
    places = (folder / "annotations", *reading.with_parts(folder))
    documents = [file for place in places for file in sorted(place.glob("*.json"))]
    return [file for file in documents if _NAMED.search(file.stem) or reading.holds(file, '"annotations"')]


def rows(folder: Path, files: Sequence[Path]) -> reading.Rows:
    yield from reading.each(files, lambda file: _objects(file, folder))


def _objects(file: Path, folder: Path) -> reading.Rows:
    data = reading.parsed(file, "JSON", json.loads, reading.text(file))
    if not isinstance(data, dict):
        raise reading.Fault(file, "not COCO: it must hold an object with images, categories and annotations")
    words = re.findall("[a-z]+[0-9]*", file.stem.lower())
    named_parts = filter(None, (reading.part(word.rstrip("0123456789")) for word in words))
    its_part = next(named_parts, None) or reading.part_of(file, folder)
    inner = filter(Path.is_dir, (folder / "images" / word for word in words))  # images/val2017
    places = reading.picture_places(folder, file.parent, *inner)
    names = _categories(_items(data, "categories", file))
    images = _items(data, "images", file)
    objects: dict[Any, list[Item]] = {item["id"]: [] for _, item in images if _is_id(item.get("id"))}
    whole = len(objects) == len(images)  # else an annotation may be of the image whose id is at fault
    for where, item in _items(data, "annotations", file):
        image = item.get("image_id")
        if _is_id(image) and image in objects:
            objects[image].append((where, item))
        elif whole:
            yield reading.Fault(where, f"'image_id' is {short(image)}, which none of the images has")
    named: set[str] = set()
    for where, item in images:
        name, key = _word(item.get("file_name")), item.get("id")
        if not name:
            yield reading.Fault(where, f"'file_name' is {short(item.get('file_name'))}; it must name a picture")
        elif not _is_id(key) or key not in objects:  # the second of an id finds it taken
            yield reading.Fault(where, f"'id' is {short(key)}; it must be a number or text that no other image has")
        elif name in named:
            yield reading.Fault(where, f"there is another image {name}")
        else:
            named.add(name)
            size = reading.size(item.get("width"), item.get("height"))
            row = reading.Row(where, name, places, size=size, part=its_part)
            its_objects = [(*item, names, row) for item in objects.pop(key)]
            yield from reading.each(its_objects, lambda item: [_object(*item)]) if its_objects else [row]


def _object(where: str, thing: Mapping[str, Any], names: Mapping[Any, str], row: reading.Row) -> reading.Row:
    category, sides = thing.get("category_id"), thing.get("bbox")
    if not _is_id(category) or category not in names:
        known = ", ".join(f"{key} {name}" for key, name in names.items()) or "none"
        raise reading.Fault(where, f"'category_id' is {short(category)}; the categories are {known}")
    x, y, width, height = reading.box(
        sides if isinstance(sides, list) else (),
        where,
        f"'bbox' is four numbers (x, y, width, height), not {short(sides)}",
    )
    return replace(row, where=where, label=names[category], box=(x, y, x + width, y + height))


def _items(data: Mapping[str, Any], key: str, file: Path) -> list[Item]:
    """One that is no object is one without anything in it, and refused for that."""
    items = data.get(key)
    if not isinstance(items, list):
        raise reading.Fault(file, f"not COCO: '{key}' must be a list of objects")
    return [(f"{file}, {key}[{number}]", item if isinstance(item, dict) else {}) for number, item in enumerate(items)]


def _categories(items: Sequence[Item]) -> dict[Any, str]:
    names: dict[Any, str] = {}
    for where, item in items:
        key, stated = item.get("id"), item.get("name")
        name = _word(stated)
        if not _is_id(key) or not name:
            raise reading.Fault(where, f"a category has an id and a name, not {short(key)} and {short(stated)}")
        if key in names or name in names.values():
            raise reading.Fault(where, f"there is another category of the id {short(key)} or the name {short(stated)}")
        names[key] = name
    return names


def _word(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _is_id(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)
