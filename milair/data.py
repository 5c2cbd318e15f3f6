"""`python -m milair.data`: check a folder of frames, or write the built-in sample into one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from milair.console.command import command, leave
from milair.console.options import add_frames, parser
from milair.errors import MilairError

if TYPE_CHECKING:
    from milair.console.progress import Progress


def arguments() -> argparse.ArgumentParser:
    made = parser(
        "data",
        "Check labelled frames as a search would, or write the built-in sample.",
        "python -m milair.data check my/frames",
    )
    made.add_argument(
        "action", choices=("check", "sample"), help="check: read DIR and say what is there; sample: write DIR"
    )
    made.add_argument("folder", type=Path, metavar="DIR")
    add_frames(made)
    made.add_argument(
        "--draw",
        type=Path,
        metavar="OUT",
        help="check: write sheets of all frames with their boxes, and of near-duplicates",
    )
    return made


@command(arguments)
def main(options: argparse.Namespace, console: Progress) -> None:
    from milair.frames import read as check
    from milair.frames import sample, split
    from milair.study import session as setup

    if options.action == "sample":
        sample.write(options.folder)
    frames, faults = check.check(
        options.folder.resolve(),
        options.objects or "largest",
        remember=setup.seen_pictures(),
        progress=console.advance,
    )
    console.close()
    for fault in faults:
        print(fault)
    if frames.labelled:
        print(frames.describe())
    if faults:
        good = f"{len(frames.labelled)} labelled frames and {len(frames.unlabelled)} without labels are good"
        raise MilairError(f"{options.folder}: {len(faults)} fault{'s' if len(faults) > 1 else ''}; {good}")
    kind = options.split or split.default_kind(frames.labelled)
    halves = split.split(frames.labelled, kind)
    print(split.describe(halves, split.identity(frames.labelled, kind)))
    if options.draw:
        from milair.frames import drawing

        sheets = [*drawing.label_sheets(frames.labelled, options.draw), *drawing.duplicate_sheets(halves, options.draw)]
        print(f"drawn    {len(sheets)} sheets in {options.draw}")


if __name__ == "__main__":
    leave(main())
