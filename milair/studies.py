"""`python -m milair.studies`: list and show studies, rename or delete them, and put the disk in order."""

from argparse import SUPPRESS, ArgumentParser, Namespace

from milair.console import options as shared
from milair.console.command import Progress, command, leave


def arguments() -> ArgumentParser:
    parser = shared.parser(
        "studies",
        "List and show studies, rename or delete them, and put the disk in order.",
        "python -m milair.studies show heads@frames",
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    places = ArgumentParser(add_help=False)
    places.add_argument("--debug", action="store_true", default=SUPPRESS, help="show the traceback of an error")
    shared.add_studies(places)
    added = {
        name: actions.add_parser(name, help=text, description=text, parents=[places])
        for name, text in {
            "list": "every study, its state and its best score",
            "show": "a study's settings, its best trials, its trouble, and what to run next",
            "again": "queue trials of a study once more, with other seeds, to see how far they spread",
            "rename": "give a study another name; its models stay where they are",
            "delete": "delete a study with all of its trials; its models stay",
            "clean": "remove all features kept on disk, and give trials of searches that died back",
        }.items()
    }
    for name in ("show", "again", "rename", "delete"):
        added[name].add_argument("name", metavar="NAME", help="heads@frames, or heads if there is only one")
    again = added["again"]
    again.add_argument("trials", metavar="TRIAL", type=shared.whole(0), nargs="+", help="its number; it is complete")
    again.add_argument("--seeds", metavar="N", type=shared.whole(1), default=2, help="so many more each; default: 2")
    added["rename"].add_argument("new", metavar="NEW", help="its name from then on")
    for name in ("list", "show"):
        added[name].add_argument("--json", action="store_true", help="the same as JSON")
    added["delete"].add_argument("--yes", action="store_true", help="ask nothing")
    added["clean"].add_argument("--dry-run", action="store_true", help="say what would be done, and change nothing")
    return parser


@command(arguments)
def main(options: Namespace, console: Progress) -> None:
    from milair.console import shelf

    shelf.ACTIONS[options.action](options, console)


if __name__ == "__main__":
    leave(main())
