"""`python -m milair.report`: a study as one page, with its noise, and beside another study where one is named."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from milair.console import cli

if TYPE_CHECKING:
    from milair.console.progress import Progress


def arguments() -> argparse.ArgumentParser:
    parser = cli.parser(
        "report",
        "Write a study as one HTML page that needs no network, and as Markdown.",
        "python -m milair.report --study heads@frames",
    )
    parser.add_argument("--study", required=True, metavar="NAME", help="heads@frames, or heads if there is only one")
    parser.add_argument("--against", metavar="OTHER", help="another study on the same frames, to compare with")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: reports/NAME in --studies")
    parser.add_argument("--data", metavar="DIR", help="where the frames lie now, if they moved")
    parser.add_argument("--spaces", type=Path, metavar="DIR", help="default: search_spaces")
    cli.add_studies(parser)
    return parser


def command(options: argparse.Namespace) -> None:
    from milair.console.progress import Progress
    from milair.reporting.sections import write

    console = Progress()
    sessions = [_session(options, name, console) for name in (options.study, options.against) if name]
    page = write(options.out or options.studies / "reports" / sessions[0].study.study_name, *sessions)
    size = page.stat().st_size / 1e6
    console.say(f"{page} ({size:.1f} MB, opens without a network) and {page.with_suffix('.md')}")


def _session(options: argparse.Namespace, study_name: str, console: Progress) -> SimpleNamespace:
    """A study whose frames and whose space are still what they were. MilairError if not."""
    from dataclasses import replace

    from milair import space
    from milair.frames.split import split
    from milair.study import results, session, storage

    study = storage.load_study(storage.open_storage(cli.storage_url(options), create=False), study_name)
    settings = results.stored_settings(study)
    settings = replace(settings, data=session.data_place(options.data) if options.data else settings.data)
    frames = session.read_frames(settings.data, settings.objects, console.features)
    settings.refuse_difference(session.same_settings(settings, frames), study.study_name)
    chosen = space.load(settings.space, options.spaces or space.default_folder()).narrowed(settings.only)
    parts = split(frames.labelled, settings.split_kind)
    return SimpleNamespace(settings=settings, frames=frames, split=parts, space=chosen, study=study)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(command, arguments(), argv)


if __name__ == "__main__":
    cli.leave(main())
