"""`python -m milair.report`: a study as one page, with its noise, and beside an earlier search if its space has one."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from milair import __version__
from milair.console.command import command, leave
from milair.console.options import add_studies, parser, storage_url
from milair.errors import UsageError

if TYPE_CHECKING:
    from milair.console.progress import Progress
    from milair.reporting.evidence import Evidence


def arguments() -> argparse.ArgumentParser:
    made = parser(
        "report",
        "Write a study as one HTML page that needs no network, and as Markdown.",
        "python -m milair.report --study heads@frames",
    )
    made.add_argument("--study", required=True, metavar="NAME", help="heads@frames, or heads if there is only one")
    made.add_argument("--against", metavar="OTHER", help="another study on the same frames, to compare with")
    made.add_argument("--out", type=Path, metavar="DIR", help="default: reports/NAME in --studies")
    made.add_argument("--data", metavar="DIR", help="where the frames lie now, if they moved")
    made.add_argument("--spaces", type=Path, metavar="DIR", help="default: search_spaces")
    add_studies(made)
    return made


@command(arguments)
def main(options: argparse.Namespace, console: Progress) -> None:
    from milair.reporting import comparisons, page, sections

    evidence = _evidence(options, options.study, console)
    other = None if options.against is None else _evidence(options, options.against, console)
    if other is not None and not comparisons.comparable(evidence, other):
        raise UsageError(f"--against {options.against}: it learned from other frames, or was judged by other ones")
    name = evidence.study.study_name
    out = options.out or options.studies / "reports" / name
    out.mkdir(parents=True, exist_ok=True)
    text = sections.report(evidence, other, out, __version__)
    (out / "report.md").write_text(text, encoding="utf-8")
    html = page.to_html(text, f"{name}, a report of milair", out)
    (out / "report.html").write_text(html, encoding="utf-8")
    console.say(f"{out / 'report.html'} ({len(html) / 1e6:.1f} MB, opens without a network) and {out / 'report.md'}")


def _evidence(options: argparse.Namespace, study_name: str, console: Progress) -> Evidence:
    """Of a study whose frames and whose space are still what they were. MilairError if not."""
    from dataclasses import replace

    from milair import space
    from milair.frames import split
    from milair.reporting.evidence import Evidence
    from milair.study import results as study
    from milair.study import session as setup
    from milair.study import storage

    found = storage.load_study(storage.open_storage(storage_url(options), create=False), study_name)
    settings = study.stored_settings(found)
    settings = replace(settings, data=setup.data_place(options.data) if options.data else settings.data)
    frames = setup.read_frames(settings.data, settings.objects, console.advance)
    settings.refuse_difference(setup.same_settings(settings, frames), found.study_name)
    chosen = space.load(settings.space, options.spaces or space.default_folder()).narrowed(settings.only)
    return Evidence(found, chosen, split.split(frames.labelled, settings.split_kind), frames.classes)


if __name__ == "__main__":
    leave(main())
