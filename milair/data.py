"""`python -m milair.data`: check a folder of frames, or write the built-in sample into one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from milair import cli


def arguments() -> argparse.ArgumentParser:
    made = cli.parser(
        "data",
        "Check labelled frames as a search would, or write the built-in sample.",
        "python -m milair.data check my/frames",
    )
    made.add_argument(
        "action", choices=("check", "sample"), help="check: read DIR and say what is there; sample: write DIR"
    )
    made.add_argument("folder", type=Path, metavar="DIR")
    return made


def command(options: argparse.Namespace) -> None:
    from milair import frames, sample

    if options.action == "sample":
        sample.write(options.folder)
    read = frames.read(options.folder)
    split = frames.split(read.labelled)
    print(read.describe())
    print(f"split    {len(split.train)} to learn from, {len(split.val)} to judge by")


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(command, arguments(), argv)


if __name__ == "__main__":
    cli.leave(main())
