"""`python -m milair.data`: check a folder of frames, or write the built-in sample into one."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from milair.console.command import Progress, command, leave
from milair.console.options import FRAMES, option, parser
from milair.errors import MilairError
from milair.frames import OBJECTS


def arguments() -> ArgumentParser:
    return parser(
        "data",
        "Check labelled frames as a search would, or write the built-in sample.",
        "python -m milair.data check my/frames",
        option("action", choices=("check", "sample"), help="check: read DIR and say what is there; sample: write DIR"),
        option("folder", type=Path, metavar="DIR"),
        *FRAMES,
        option(
            "--draw", type=Path, metavar="OUT", help="check: write sheets of frames with boxes, and of near-duplicates"
        ),
    )


@command(arguments)
def main(options: Namespace, console: Progress) -> None:
    from milair.frames import drawing, read, sample, split
    from milair.frames.pictures import seen_pictures

    if options.action == "sample":
        sample.write(options.folder)
    folder, objects = options.folder.resolve(), options.objects or OBJECTS[0]
    frames, faults = read.check(folder, objects, remember=seen_pictures(), progress=console.advance)
    console.close()
    print(*faults, *([frames.describe()] if frames.labelled else []), sep="\n")
    if faults:
        good = f"{len(frames.labelled)} labelled frames and {len(frames.unlabelled)} without labels are good"
        raise MilairError(f"{options.folder}: {len(faults)} fault{'s' if len(faults) > 1 else ''}; {good}")
    kind = options.split or split.default_kind(frames.labelled)
    splits = split.splits(frames.labelled, kind)
    print(split.describe(splits, split.identity(frames.labelled, kind)))
    if options.draw:
        sheets = drawing.label_sheets(frames.labelled, options.draw) + drawing.duplicate_sheets(splits[0], options.draw)
        print(f"drawn    {len(sheets)} sheets in {options.draw}")


if __name__ == "__main__":
    leave(main())
