"""`python -m milair.studies`: list and show studies, move, rename or delete them, and put the disk in order."""

from argparse import SUPPRESS, ArgumentParser, Namespace
from pathlib import Path

from milair.console.command import Progress, command, leave
from milair.console.options import DEVICES, QUOTAS, STORES, add, option, parser, whole


def arguments() -> ArgumentParser:
    name = option("name", metavar="NAME", help="heads@frames, or heads if there is only one")
    debug = option("--debug", action="store_true", default=SUPPRESS, help="show the traceback of an error")
    as_json = option("--json", action="store_true", help="the same as JSON")
    several = option("trials", metavar="TRIAL", type=whole(0), nargs="+", help="its number; it is complete")
    seeds = option("--seeds", metavar="N", type=whole(1), default=2, help="so many more each; default: 2")
    trainings = option("--trainings", metavar="N", type=whole(1), default=10, help="at most; default: %(default)s")
    spaces = option("--spaces", type=Path, metavar="DIR", help="default: search_spaces")
    new_file = option("file", metavar="FILE", type=Path, help="a new one")
    with_bank = option("--with-bank", action="store_true", help="pack its features as well, else computed again there")
    file = option("file", metavar="FILE", type=Path, help="what `pack` wrote")
    other_name = option("--name", metavar="NEW", help="its name here; default: the one that it had")
    into = option(
        "--spaces", type=Path, metavar="DIR", help="where its space goes; default: spaces in --studies, if it is new"
    )
    new = option("new", metavar="NEW", help="its name from then on")
    yes = option("--yes", action="store_true", help="ask nothing")
    dry_run = option("--dry-run", action="store_true", help="say what would be done, and change nothing")
    parsers = parser(
        "studies",
        "List and show studies, move, rename or delete them, and put the disk in order.",
        "python -m milair.studies show heads@frames",
    )
    actions = parsers.add_subparsers(required=True, metavar="ACTION", dest="action")
    for action, text, own in (
        ("list", "every study, its state and its best score", [as_json]),
        ("show", "a study's settings, its best trials, its trouble, and what to run next", [name, as_json]),
        (
            "again",
            "queue trials of a study once more, with other seeds, to see how far they spread",
            [name, several, seeds],
        ),
        (
            "confirm",
            "train what may be the best of a study again, with other seeds, until one stands out",
            [name, trainings, spaces, QUOTAS, DEVICES],
        ),
        ("pack", "write a study into one file, to go on with on another machine", [name, new_file, spaces, with_bank]),
        ("unpack", "put the study of such a file here", [file, other_name, into, QUOTAS]),
        ("rename", "give a study another name; its models stay where they are", [name, new]),
        ("delete", "delete a study with all of its trials; its models stay", [name, yes]),
        ("clean", "remove all features kept on disk, and give trials of searches that died back", [dry_run]),
    ):
        add(actions.add_parser(action, help=text, description=text), debug, *STORES, *own)
    return parsers


@command(arguments)
def main(options: Namespace, console: Progress) -> None:
    from milair import api
    from milair.console import shelf, summary

    if options.action == "confirm":
        words = {name: value for name, value in vars(options).items() if name not in ("action", "name")}
        result = api.confirm(options.name, console=console, **words)
        console.say(summary.text(result.summary, options, result.session))
        return
    shelf.ACTIONS[options.action](options, console)


if __name__ == "__main__":
    leave(main())
