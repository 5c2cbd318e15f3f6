"""`python -m milair.search`: run a search space as a study, or go on with it."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from milair.console import cli


def arguments() -> argparse.ArgumentParser:
    made = cli.parser(
        "search",
        "Search a space for the best recipe. The same command again goes on with the study, up to --trials in all.",
        "python -m milair.search --study heads --data my/frames --trials 40",
    )
    made.add_argument(
        "--study", required=True, metavar="SPACE", help="a file of search_spaces/ (heads), or a path to one"
    )
    made.add_argument("--data", metavar="DIR", help="folder of labelled frames; default: the built-in sample")
    cli.add_frames(made)
    made.add_argument(
        "--weights", metavar="W", help="imagenet, random, FILE or DIR; default: imagenet (sample: random)"
    )
    made.add_argument(
        "--trials",
        type=cli.whole(0),
        metavar="N",
        help="finished trials in all; default: 40 (sample: 12; a space with FIRST: all of these)",
    )
    made.add_argument("--timeout", type=float, metavar="S", help="begin no trial after S seconds")
    made.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="fix a field of every recipe")
    made.add_argument(
        "--only", action="append", default=[], metavar="FIELD=A,B", help="of the space's choices, only these"
    )
    made.add_argument("--epochs", type=cli.whole(1), metavar="N", help="the same as --set epochs=N")
    made.add_argument(
        "--views",
        type=cli.whole(1),
        metavar="K",
        help="augmented views of a picture in the bank; default: 12 (sample: 4)",
    )
    made.add_argument("--name", help="name of the study; default: SPACE@DATA")
    made.add_argument("--copy-from", metavar="OLD", help="begin with the finished trials of study OLD that still fit")
    made.add_argument("--spaces", type=Path, metavar="DIR", help="default: search_spaces")
    made.add_argument("--sampler", choices=("tpe", "random", "grid"), default="tpe", help="default: tpe")
    made.add_argument(
        "--pruner", choices=("median", "asha", "hyperband", "none"), default="median", help="default: median"
    )
    made.add_argument("--seed", type=cli.whole(0), default=0, metavar="N", help="the sampler's; default: 0")
    made.add_argument("--dry-run", action="store_true", help="show what would be searched, and train nothing")
    made.add_argument("--json", action="store_true", help="the summary as JSON on stdout, progress on stderr")
    cli.add_places(made, several=True)
    made.add_argument("--per-device", type=cli.whole(1), default=1, metavar="K", help="workers for each; default: 1")
    return made


def command(options: argparse.Namespace) -> None:
    from milair import api
    from milair.console import summary
    from milair.console.progress import Progress

    console = Progress(sys.stderr if options.json else sys.stdout)
    choices = {
        "weights": options.weights,
        "views": options.views,
        "overrides": cli.pairs("--set", options.set) | ({"epochs": str(options.epochs)} if options.epochs else {}),
        "only": {name: text.split(",") for name, text in cli.pairs("--only", options.only).items()},
        "objects": options.objects,
        "split": options.split,
        "data": options.data,
        "spaces": options.spaces,
        "seed": options.seed,
        "console": console,
    }
    if options.dry_run:
        console.say(api.dry_run(options.study, device=options.devices, **choices))
        return
    result = api.search(
        options.study,
        trials=options.trials,
        timeout=options.timeout,
        devices=options.devices,
        per_device=options.per_device,
        name=options.name,
        copy_from=options.copy_from,
        sampler=options.sampler,
        pruner=options.pruner,
        studies=options.studies,
        url=options.storage,
        bank=options.bank,
        bank_quota=options.bank_quota,
        debug=options.debug,
        **choices,
    )
    if options.json:
        print(json.dumps(result.summary, indent=2))
    else:
        pictures = result.session.split.val[0].path.parent
        console.say(summary.text(result.summary, cli.places(options), options.studies / "models", pictures))


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(command, arguments(), argv)


if __name__ == "__main__":
    cli.leave(main())
