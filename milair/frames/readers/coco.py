"""COCO JSON: lists of `images`, `categories` and `annotations`, boxes as x, y, width, height in pixels.

Several files are parts of one set, as their names (instances_val2017.json) or their folders say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from reprlib import repr as short  # of values that may be of any length and depth
from typing import Any

from milair.errors import first_line
from milair.frames.readers.rows import (
    Broken,
    Fault,
    Row,
    Rows,
    box,
    each,
    holds,
    part,
    part_of,
    picture_places,
    size,
    text,
    with_parts,
)

_NAMED = re.compile(r"(^|[._-])(coco|instances)([._-]|$)")
Item = tuple[str, dict[str, Any]]  # where it is, and what it is


def files(folder: Path) -> list[Path]:
    found = [file for place in (folder / "annotations", *with_parts(folder)) for file in sorted(place.glob("*.json"))]
    return [file for file in found if _NAMED.search(file.stem) or holds(file, b'"annotations"')]


def rows(folder: Path, files: Sequence[Path]) -> Rows:
    yield from each(files, lambda file: _objects(file, folder))


def _objects(file: Path, folder: Path) -> Rows:
    data = _load(file)
    words = re.findall("[a-z]+", file.stem.lower())
    its_part = next(filter(None, map(part, words)), None) or part_of(file, folder)
    inner = [folder / "images" / word for word in re.findall("[a-z]+[0-9]*", file.stem)]  # images/val2017
    places = picture_places(folder, file.parent, *(place for place in inner if place.is_dir()))
    names = _categories(_items(data, "categories", file))
    images = _items(data, "images", file)
    ids = [item.get("id") for _, item in images]
    objects: dict[Any, list[Item]] = {key: [] for key in ids if _is_id(key)}
    whole = len(objects) == len(ids)  # else an annotation may be of the image whose id is at fault
    for where, item in _items(data, "annotations", file):
        image = item.get("image_id")
        if _is_id(image) and image in objects:
            objects[image].append((where, item))
        elif whole:
            yield Fault(where, f"'image_id' is {short(image)}, which none of the images has")
    named: set[str] = set()
    for where, item in images:
        stated, key = item.get("file_name"), item.get("id")
        name = stated.strip() if isinstance(stated, str) else ""
        if not name:
            yield Fault(where, f"'file_name' is {short(stated)}; it must name a picture")
        elif not _is_id(key) or key not in objects:  # the second of an id finds it taken
            yield Fault(where, f"'id' is {short(key)}; it must be a number or text that no other image has")
        elif name in named:
            yield Fault(where, f"there is another image {name}")
        else:
            row = Row(where, name, places, size=size(item.get("width"), item.get("height")), part=its_part)
            found = objects.pop(key)
            yield from (_object(its_where, thing, names, row) for its_where, thing in found)
            if not found:
                yield row
            named.add(name)


def _object(where: str, thing: Mapping[str, Any], names: Mapping[Any, str], row: Row) -> Row | Fault:
    category, sides = thing.get("category_id"), thing.get("bbox")
    if not _is_id(category) or category not in names:
        known = ", ".join(f"{key} {name}" for key, name in names.items()) or "none"
        return Fault(where, f"'category_id' is {short(category)}; the categories are {known}")
    found = box(sides) if isinstance(sides, list) else None
    if found is None:
        return Fault(where, f"'bbox' is four numbers (x, y, width, height), not {short(sides)}")
    x, y, width, height = found
    return replace(row, where=where, label=names[category], box=(x, y, x + width, y + height))


def _load(file: Path) -> dict[str, Any]:
    try:
        data = json.loads(text(file))
    except json.JSONDecodeError as error:
        raise Broken(f"{file}, row {error.lineno}", f"not JSON ({error.msg})") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise Broken(file, f"not JSON ({first_line(error)})") from None
    if not isinstance(data, dict):
        raise Broken(file, "not COCO: it must hold an object with images, categories and annotations")
    return data


def _items(data: Mapping[str, Any], key: str, file: Path) -> list[Item]:
    """One that is no object is one without anything in it, and refused for that."""
    items = data.get(key)
    if not isinstance(items, list):
        raise Broken(file, f"not COCO: '{key}' must be a list of objects")
    return [(f"{file}, {key}[{number}]", item if isinstance(item, dict) else {}) for number, item in enumerate(items)]


def _categories(items: Sequence[Item]) -> dict[Any, str]:
    names: dict[Any, str] = {}
    for where, item in items:
        key, name = item.get("id"), item.get("name")
        if not _is_id(key) or not isinstance(name, str) or not name.strip():
            raise Broken(where, f"a category has an id and a name, not {short(key)} and {short(name)}")
        if key in names or name.strip() in names.values():
            raise Broken(where, f"there is another category of the id {short(key)} or the name {short(name)}")
        names[key] = name.strip()
    return names


def _is_id(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)
