"""`python -m milair.report`: a study as one page, with its noise, and beside an earlier search if its space has one."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from milair.console.command import Progress, command, leave
from milair.console.options import STORES, option, parser


def arguments() -> ArgumentParser:
    return parser(
        "report",
        "Write a study as one HTML page that needs no network, and as Markdown.",
        "python -m milair.report --study heads@frames",
        option("--study", required=True, metavar="NAME", help="heads@frames, or heads if there is only one"),
        option("--against", metavar="OTHER", help="another study on the same frames, to compare with"),
        option("--out", type=Path, metavar="DIR", help="default: reports/NAME in --studies"),
        option("--data", metavar="DIR", help="where the frames lie now, if they moved"),
        option("--spaces", type=Path, metavar="DIR", help="default: search_spaces"),
        *STORES,
    )


@command(arguments)
def main(options: Namespace, console: Progress) -> None:
    from milair import api

    page = api.report(console=console, **vars(options))
    console.say(f"{page} ({page.stat().st_size / 1e6:.1f} MB, opens without a network) and {page.with_suffix('.md')}")


if __name__ == "__main__":
    leave(main())
