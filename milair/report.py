"""`python -m milair.report`: a study as one page, with its noise, and beside an earlier search if its space has one."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from milair.console import options as shared
from milair.console.command import Progress, command, leave


def arguments() -> ArgumentParser:
    parser = shared.parser(
        "report",
        "Write a study as one HTML page that needs no network, and as Markdown.",
        "python -m milair.report --study heads@frames",
    )
    add = parser.add_argument
    add("--study", required=True, metavar="NAME", help="heads@frames, or heads if there is only one")
    add("--against", metavar="OTHER", help="another study on the same frames, to compare with")
    add("--out", type=Path, metavar="DIR", help="default: reports/NAME in --studies")
    add("--data", metavar="DIR", help="where the frames lie now, if they moved")
    add("--spaces", type=Path, metavar="DIR", help="default: search_spaces")
    shared.add_studies(parser)
    return parser


@command(arguments)
def main(options: Namespace, console: Progress) -> None:
    from milair import api

    page = api.report(console=console, **vars(options))
    console.say(f"{page} ({page.stat().st_size / 1e6:.1f} MB, opens without a network) and {page.with_suffix('.md')}")


if __name__ == "__main__":
    leave(main())
