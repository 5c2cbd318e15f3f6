"""From annotations to frames: what a folder's files state, checked against its pictures, row by row."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from milair.frames import OBJECTS, TEST, readers
from milair.frames.frame import Frame, Frames, stamps
from milair.frames.pictures import PICTURES, Picture, Progress, Unreadable, look_at_all, stamp
from milair.frames.readers import reading, tables

Located = tuple[reading.Row, Path]  # a row, and its picture


def read(
    folder: Path, objects: str = OBJECTS[0], *, remember: Path | None = None, progress: Progress | None = None
) -> Frames:
    """The frames of a folder, in any layout of readers/. MilairError is the first of `check`'s lines, if it has any."""
    frames, faults = check(folder, objects, remember=remember, progress=progress)
    if faults:
        raise faults[0]
    return frames


def check(
    folder: Path, objects: str = OBJECTS[0], *, remember: Path | None = None, progress: Progress | None = None
) -> tuple[Frames, list[reading.Fault]]:
    """The good frames of a folder, and all that is wrong there, in the order of its files.

    `objects` of a frame with several: "largest" takes the largest box, "skip" leaves the frame out, "error" is a fault.
    `remember` is a database of what is known of pictures (see pictures.py); `progress` is told of the others.
    MilairError if the folder holds no annotations that milair knows.
    """
    folder = Path(os.path.normpath(folder.absolute()))
    (layout, files), *others = readers.find(folder)
    own = reading.there(folder / tables.SPLIT)
    state = stamps(folder, (*files, *own))  # before they are read, so that no change is missed
    listed = cache(by_stem)
    rows = reading.each([layout], lambda layout: layout.rows(folder, files))
    located = list(reading.each(rows, lambda row: [(row, locate(row, folder, listed))]))
    paths = list(dict.fromkeys(item[1] for item in located if not isinstance(item, reading.Fault)))
    state |= {path: stamp(path) for path in paths}
    pictures = dict(zip(paths, look_at_all(paths, folder, remember, progress), strict=True))
    parts, faults = _own_parts(folder, own, located)
    frames, unlabelled = _gather(located, pictures, parts, objects, faults)
    labelled = [
        max(several, key=lambda frame: frame.area) for several in frames if objects != "skip" or len(several) == 1
    ]
    if not (faults or any(frame.part != TEST for frame in labelled)):
        left_out = " that is used: its frames have several objects each, or are of the part test" if frames else ""
        faults.append(reading.Fault(files[0], f"there is no labelled object in it{left_out}"))
    also = f"; {', '.join(other.name for other, _ in others)} there is not read" if others else ""
    return Frames(
        folder=folder,
        layout=layout.name + also,
        labelled=tuple(frame for frame in labelled if frame.part != TEST),
        unlabelled=unlabelled,
        warnings=_warnings(frames, sum(frame.part == TEST for frame in labelled), objects),
        files=(*files, *own),
        state=state,
    ), faults


def locate(row: reading.Row, folder: Path, listed: Callable[[Path], Mapping[str, list[str]]]) -> Path:
    """The picture of a row. Its name may have either slash, and may lack the suffix if that leaves no doubt."""
    if not isinstance(row.label, str):  # a reader may be the user's
        raise reading.Fault(row.where, f"the class {row.label!r} is no text")
    if odd := next((name for name in (row.name, row.label) if reading.CONTROL.search(name)), None):
        raise reading.Fault(row.where, f"the name {odd} holds characters that cannot be printed; rename it")
    name = row.name.replace("\\", "/")
    paths = [Path(os.path.normpath(place / name)) for place in row.places]
    if re.match("[A-Za-z]:", name) or not all(path.is_relative_to(folder) for path in paths):
        raise reading.Fault(row.where, f"the picture {row.name} leaves the folder {folder}")
    for path in paths:
        if os.path.isfile(path):  # noqa: PTH113 (pathlib's raises for a name that is too long)
            return path
        if alike := listed(path.parent).get(path.name, []):
            if len(alike) > 1:
                raise reading.Fault(row.where, f"the picture {row.name} may be {' or '.join(alike)}; write its suffix")
            return path.with_name(alike[0])
    if no_file := next(filter(os.path.lexists, paths), None):  # pictures.py says what it is
        return no_file
    raise reading.Fault(row.where, f"there is no picture {paths[0]}")


def by_stem(folder: Path) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    with suppress(OSError, ValueError):
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in PICTURES:
                names.setdefault(path.stem, []).append(path.name)
    return names


def _own_parts(
    folder: Path, own: Sequence[Path], located: Sequence[Located | reading.Fault]
) -> tuple[dict[Path, str | None], list[reading.Fault]]:
    """By picture: its part in a split of one's own, which may name it in any way that leaves no doubt."""
    named: dict[str, set[Path]] = defaultdict(set)
    rows = [item for item in located if not isinstance(item, reading.Fault)]
    for row, path in rows:
        for name in (row.name, path.name, path.stem, path.relative_to(folder).as_posix()):
            named[name].add(path)
    stated: dict[Path, reading.Row] = {}

    def take(row: reading.Row) -> list[reading.Fault]:
        paths = sorted(named.get(row.name, ()))
        if len(paths) > 1:
            raise reading.Fault(
                row.where, f"the picture {row.name} may be {' or '.join(map(str, paths))}; write its folder"
            )
        if not paths and len(rows) == len(located):  # else a row at fault may name it
            raise reading.Fault(row.where, f"no annotation names the picture {row.name}")
        for path in paths:
            if path in stated:
                raise reading.Fault(row.where, f"{row.name} is in {stated[path].where} already")
            stated[path] = row
        return []

    faults = list(reading.each(tables.rows(folder, own), take))
    return {path: row.part for path, row in stated.items()}, faults


def _gather(
    located: Iterable[Located | reading.Fault],
    pictures: Mapping[Path, Picture | Unreadable],
    parts: Mapping[Path, str | None],
    objects: str,
    faults: list[reading.Fault],
) -> tuple[list[list[Frame]], tuple[Path, ...]]:
    """Pictures without a fault, each as the frames of its objects, and those without objects. Adds to `faults`."""
    frames: dict[Path, list[Frame]] = defaultdict(list)
    unlabelled: dict[Path, str] = {}
    bad: set[Path] = set()
    for item in located:
        if isinstance(item, reading.Fault):
            faults.append(item)
            continue
        row, path = item
        picture = pictures[path]
        try:
            if isinstance(picture, Unreadable):
                if path not in bad:
                    raise reading.Fault(row.where, f"{path} {picture}")
            elif row.box is not None:
                frame = row.frame(picture, row.box, parts.get(path, row.part))
                frames[path].append(frame)
                for earlier in frames[path][:-1]:
                    _compare(frame, earlier, objects)
            elif path in unlabelled:
                raise reading.Fault(row.where, f"{path.name} is in {unlabelled[path]} already")
            else:
                unlabelled[path] = row.where
        except reading.Fault as fault:
            faults.append(fault)
            bad.add(path)
    return (
        [several for path, several in frames.items() if path not in bad],
        tuple(path for path in unlabelled if path not in bad),
    )


def _compare(frame: Frame, earlier: Frame, objects: str) -> None:
    """Fault if two objects of a picture break a rule."""
    name, where = frame.path.name, earlier.where
    if (earlier.label, earlier.box) == (frame.label, frame.box):
        raise reading.Fault(frame.where, f"the same object of {name} is in {where} already")
    if earlier.part != frame.part:
        raise reading.Fault(frame.where, f"{name} is of the part {frame.part}, and of {earlier.part} in {where}")
    if objects == "error":
        raise reading.Fault(
            frame.where, f"a second object in {name}, after that in {where}; --objects largest takes the largest"
        )


def _warnings(frames: Sequence[Sequence[Frame]], tests: int, objects: str) -> tuple[str, ...]:
    pictures = [several[0].picture for several in frames]
    modes = Counter(picture.mode for picture in pictures if picture.mode != "RGB")
    fate = "these are left out" if objects == "skip" else "the largest box of each is used"
    notes = (
        (sum(len(several) > 1 for several in frames), f"several objects; {fate}"),
        (tests, "the part test; they are neither training nor validation frames"),
        (sum(picture.orientation > 1 for picture in pictures), "an EXIF rotation; boxes count as shown, turned"),
        (modes.total(), f"other colours than RGB ({', '.join(modes)}) and are read as RGB, 8 bits, without alpha"),
    )
    return tuple(f"{count} frame{'s have' if count > 1 else ' has'} {text}" for count, text in notes if count)
