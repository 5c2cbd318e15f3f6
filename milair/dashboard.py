"""`python -m milair.dashboard`: open a study in optuna-dashboard, its pictures with it, on this machine only."""

from argparse import ArgumentParser, Namespace

from milair.console.command import Progress, command, leave
from milair.console.options import STORES, option, parser, whole


def arguments() -> ArgumentParser:
    return parser(
        "dashboard",
        "Open a study in optuna-dashboard, with its pictures. Only this machine can reach it; Ctrl-C ends it.",
        "python -m milair.dashboard --study heads@frames",
        option("--study", required=True, metavar="NAME", help="heads@frames, or heads if there is only one"),
        option("--port", type=whole(1), metavar="PORT", help="default: a free one"),
        *STORES[:2],
    )


@command(arguments)
def main(options: Namespace, console: Progress) -> None:
    from milair import api

    with api.dashboard(options.study, port=options.port, studies=options.studies, storage=options.storage) as server:
        console.say(f"{server.url}\nCtrl-C ends it")
        server.serve()


if __name__ == "__main__":
    leave(main())
