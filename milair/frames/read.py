"""From annotations to frames: what a folder's files state, checked against its pictures, row by row."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from milair.boxes import to_shares
from milair.errors import MilairError
from milair.frames import readers
from milair.frames.frame import Frame, Frames
from milair.frames.pictures import PICTURES, Picture, Progress, Unreadable, look_at_all
from milair.frames.readers import TEST, Fault, Row, rows, tables

OBJECTS = ("largest", "skip", "error")  # what becomes of a frame with several objects
_SLACK = 1e-5  # of a picture, by which a box in shares may leave it: YOLO's are rounded to six digits
_DRIVE = re.compile("[A-Za-z]:")


def read(
    folder: Path, objects: str = "largest", *, remember: Path | None = None, progress: Progress | None = None
) -> Frames:
    """The frames of a folder, in any layout of readers/. MilairError is the first of `check`'s lines, if it has any."""
    frames, faults = check(folder, objects, remember=remember, progress=progress)
    if faults:
        raise MilairError(str(faults[0]))
    return frames


def check(
    folder: Path, objects: str = "largest", *, remember: Path | None = None, progress: Progress | None = None
) -> tuple[Frames, list[Fault]]:
    """The good frames of a folder, and all that is wrong there, in the order of its files.

    `objects` of a frame with several: "largest" takes the largest box, "skip" leaves the frame out, "error" is a fault.
    `remember` is a database of what is known of pictures (see pictures.py); `progress` is told of the others.
    MilairError if the folder holds no annotations that milair knows.
    """
    folder = Path(os.path.normpath(folder.absolute()))
    (layout, files), *others = readers.find(folder)
    places = _Places(folder)
    found = [(row, places.find(row) if isinstance(row, Row) else row) for row in layout.rows(folder, files)]
    paths = list(dict.fromkeys(path for _, path in found if isinstance(path, Path)))
    scans = dict(zip(paths, look_at_all(paths, folder, remember, progress), strict=True))
    gathered = _Gathered(objects, scans)
    own = gathered.own_split(folder, found)
    for row, path in found:
        if isinstance(row, Fault):
            gathered.faults.append(row)
        elif isinstance(path, Fault):
            gathered.faults.append(path)
        else:
            gathered.take(replace(row, part=own.get(path, row.part)), path)
    also = f"; {', '.join(other.name for other, _ in others)} there is not read" if others else ""
    frames = gathered.frames(folder, layout.name + also)
    if not frames.labelled and not gathered.faults:
        left_out = " that is used: its frames have several objects each, or are of the part test"
        rule = f"there is no labelled object in it{left_out if gathered.objects_of else ''}"
        gathered.faults.append(Fault(str(files[0]), rule))
    return frames, gathered.faults


class _Places:
    """Finds the pictures that annotations name, and keeps what it has seen of their folders."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.listed: dict[Path, dict[str, list[str]]] = {}

    def find(self, row: Row) -> Path | Fault:
        """The picture of a row. Its name may have either slash, and may lack the suffix if that leaves no doubt."""
        if odd := next((name for name in (row.name, row.label or "") if rows.CONTROL.search(name)), None):
            return Fault(row.where, f"the name {odd} holds characters that cannot be printed; rename it")
        name = row.name.replace("\\", "/")
        paths = [Path(os.path.normpath(place / name)) for place in row.places]
        if _DRIVE.match(name) or not all(path.is_relative_to(self.folder) for path in paths):
            return Fault(row.where, f"the picture {row.name} leaves the folder {self.folder}")
        for path in paths:
            if os.path.isfile(path):  # noqa: PTH113 (pathlib's raises for a name that is too long)
                return path
            if alike := self._with_suffix(path):
                if len(alike) > 1:
                    return Fault(row.where, f"the picture {row.name} may be {' or '.join(alike)}; write its suffix")
                return path.with_name(alike[0])
        there = next(filter(os.path.lexists, paths), None)  # no file, and pictures.py says what else
        return there or Fault(row.where, f"there is no picture {paths[0]}")

    def _with_suffix(self, path: Path) -> list[str]:
        """Names of pictures that are this one and a suffix."""
        if path.parent not in self.listed:
            names = self.listed[path.parent] = {}
            try:
                found = sorted(path.parent.iterdir())
            except (OSError, ValueError):
                found = []
            for picture in found:
                if picture.suffix.lower() in PICTURES:
                    names.setdefault(picture.stem, []).append(picture.name)
        return self.listed[path.parent].get(path.name, [])


@dataclass
class _Gathered:
    """Frames and faults, as rows come."""

    objects: str
    scans: dict[Path, Picture | Unreadable]
    faults: list[Fault] = field(default_factory=list)
    objects_of: dict[Path, list[tuple[str, Frame]]] = field(default_factory=dict)  # with where each is stated
    unlabelled: dict[Path, str] = field(default_factory=dict)
    bad: set[Path] = field(default_factory=set)  # pictures with a fault

    def own_split(self, folder: Path, found: Sequence[tuple[Row | Fault, Path | Fault]]) -> dict[Path, str | None]:
        """By picture: its part in a split of one's own, which may name it in any way that leaves no doubt."""
        named: dict[str, set[Path]] = {}
        for row, path in found:
            if isinstance(row, Row) and isinstance(path, Path):
                for name in (row.name, path.name, path.stem, path.relative_to(folder).as_posix()):
                    named.setdefault(name, set()).add(path)
        whole = all(isinstance(path, Path) for _, path in found)  # else what is at fault may name a picture
        said: dict[Path, Row] = {}
        for item in rows.each(rows.there(folder / tables.SPLIT), tables.parts):
            paths = sorted(named.get(item.name, ())) if isinstance(item, Row) else []
            if isinstance(item, Fault):
                self.faults.append(item)
            elif len(paths) > 1:
                self._refuse(item, f"the picture {item.name} may be {' or '.join(map(str, paths))}; write its folder")
            elif paths and paths[0] in said:
                self._refuse(item, f"{item.name} is in {said[paths[0]].where} already")
            elif paths:
                said[paths[0]] = item
            elif whole:
                self._refuse(item, f"no annotation names the picture {item.name}")
        return {path: item.part for path, item in said.items()}

    def take(self, row: Row, path: Path) -> None:
        scanned = self.scans[path]
        if isinstance(scanned, Unreadable):
            if path not in self.bad:
                self._refuse(row, f"{path} {scanned}", path)
        elif row.label is None:
            if path in self.unlabelled:
                self._refuse(row, f"{path.name} is in {self.unlabelled[path]} already", path)
            self.unlabelled[path] = row.where
        else:
            self._take_object(row, path, scanned)

    def _take_object(self, row: Row, path: Path, scanned: Picture) -> None:
        made = _frame(row, path, scanned)
        if isinstance(made, str):
            self._refuse(row, made, path)
            return
        earlier = self.objects_of.setdefault(path, [])
        if rule := next(filter(None, (self._clash(made, frame, where) for where, frame in earlier)), None):
            self._refuse(row, rule, path)
        earlier.append((row.where, made))

    def _clash(self, made: Frame, earlier: Frame, where: str) -> str | None:
        """The rule that two objects of a picture break, if they do."""
        name = made.path.name
        if (earlier.label, earlier.box) == (made.label, made.box):
            return f"the same object of {name} is in {where} already"
        if earlier.part != made.part:
            return f"{name} is of the part {made.part}, and of {earlier.part} in {where}"
        if self.objects == "error":
            return f"a second object in {name}, after that in {where}; --objects largest takes the largest"
        return None

    def _refuse(self, row: Row, rule: str, *pictures: Path) -> None:
        self.faults.append(Fault(row.where, rule))
        self.bad.update(pictures)

    def frames(self, folder: Path, layout: str) -> Frames:
        """The frames without a fault."""
        good = {path: [frame for _, frame in found] for path, found in self.objects_of.items() if path not in self.bad}
        several = sum(len(found) > 1 for found in good.values())
        kept = [found for found in good.values() if len(found) == 1 or self.objects != "skip"]
        labelled = [max(found, key=lambda frame: frame.area) for found in kept]
        asides = sum(frame.part == TEST for frame in labelled)
        scans = [scanned for path in good if isinstance(scanned := self.scans[path], Picture)]
        modes = Counter(scanned.mode for scanned in scans if scanned.mode != "RGB")
        fate = "these are left out" if self.objects == "skip" else "the largest box of each is used"
        notes = (
            (several, f"several objects; {fate}"),
            (asides, "the part test; they are neither learned from nor judged by"),
            (sum(scanned.orientation > 1 for scanned in scans), "an EXIF rotation; boxes count as shown, turned"),
            (modes.total(), f"other colours than RGB ({', '.join(modes)}) and are read as RGB, 8 bits, without alpha"),
        )
        return Frames(
            folder=folder,
            layout=layout,
            labelled=tuple(frame for frame in labelled if frame.part != TEST),
            unlabelled=tuple(path for path in self.unlabelled if path not in self.bad),
            warnings=tuple(
                f"{count} frame{'s have' if count > 1 else ' has'} {text}" for count, text in notes if count
            ),
        )


def _frame(row: Row, path: Path, scanned: Picture) -> Frame | str:
    """The frame of a row; else the rule that it breaks."""
    size = width, height = scanned.width, scanned.height
    if row.size not in (None, size):
        said = f"its size is stated as {row.size[0]}x{row.size[1]}" if row.size else ""
        if scanned.orientation >= 5 and row.size == (height, width):
            turn = f"an EXIF orientation of {scanned.orientation}"
            return f"{said}, but {path.name} has {turn} and is shown as {width}x{height}; label it as it is shown"
        return f"{said}, but {path.name} is {width}x{height}"
    assert row.label is not None
    assert row.box is not None
    shares = row.box if row.shares else to_shares(row.box, width, height)
    xmin, ymin, xmax, ymax = row.box
    said = f"box ({xmin:g}, {ymin:g}, {xmax:g}, {ymax:g})"
    slack = _SLACK if row.shares else 0.0
    if not all(-slack <= side <= 1 + slack for side in shares):
        return f"{said} is outside its {width}x{height} picture {path.name}"
    left, top, right, bottom = (min(max(side, 0.0), 1.0) for side in shares)
    if not (left < right and top < bottom):
        return f"{said} is empty; xmin < xmax, ymin < ymax"
    return Frame(scanned, row.label, (left, top, right, bottom), row.part, row.where)
