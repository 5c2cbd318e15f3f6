"""`python -m milair.report`: a study as one page, with its noise, and beside an earlier search if its space has one."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from milair.console import cli


def arguments() -> argparse.ArgumentParser:
    made = cli.parser(
        "report",
        "Write a study as one HTML page that needs no network, and as Markdown.",
        "python -m milair.report --study heads@frames",
    )
    made.add_argument("--study", required=True, metavar="NAME", help="heads@frames, or heads if there is only one")
    made.add_argument("--against", metavar="OTHER", help="another study on the same frames, to compare with")
    made.add_argument("--out", type=Path, metavar="DIR", help="default: reports/NAME in --studies")
    made.add_argument("--data", metavar="DIR", help="where the frames lie now, if they moved")
    made.add_argument("--spaces", type=Path, metavar="DIR", help="default: search_spaces")
    cli.add_studies(made)
    return made


def command(options: argparse.Namespace) -> None:
    from milair import api

    page = api.report(
        options.study,
        against=options.against,
        out=options.out,
        data=options.data,
        studies=options.studies,
        url=options.storage,
        spaces=options.spaces,
    )
    print(f"{page} ({page.stat().st_size / 1e6:.1f} MB, opens without a network) and {page.with_suffix('.md')}")


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(command, arguments(), argv)


if __name__ == "__main__":
    cli.leave(main())
