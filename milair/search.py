"""`python -m milair.search`: run a search space as a study, or go on with it."""

import json
from argparse import ArgumentParser, Namespace
from pathlib import Path

from milair.console.command import Progress, command, leave
from milair.console.options import DEVICES, ENGINES, FRAMES, QUOTAS, STORES, option, pairs, parser, whole
from milair.study import PAIRED, PRUNERS, SAMPLE_TRIALS, SAMPLE_VIEWS, SAMPLERS, TRIALS, VIEWS


def arguments() -> ArgumentParser:
    return parser(
        "search",
        "Search a space for the best recipe. The same command again goes on with the study, up to --trials in all.",
        "python -m milair.search --study heads --data my/frames --trials 40",
        option("--study", required=True, metavar="SPACE", help="a file of search_spaces/ (heads), or a path to one"),
        option("--data", metavar="DIR", help="folder of labelled frames; default: the built-in sample"),
        *FRAMES,
        option("--weights", metavar="W", help="imagenet, random, FILE or DIR; default: imagenet (sample: random)"),
        option(
            "--trials",
            type=whole(0),
            metavar="N",
            help=f"finished trials in all; default: {TRIALS} (sample: {SAMPLE_TRIALS}; a space with FIRST: all of "
            "these)",
        ),
        option("--timeout", type=float, metavar="S", help="begin no trial after S seconds"),
        option("--set", action="append", default=[], metavar="FIELD=VALUE", help="fix a field of every recipe"),
        option("--only", action="append", default=[], metavar="FIELD=A,B", help="of the space's choices, only these"),
        option(
            "--limit",
            action="append",
            default=[],
            metavar="LIMIT=X",
            help="only models with at most X parameters, or X ms to predict a frame where they are trained: "
            "parameters=5e6, ms=30",
        ),
        option("--epochs", type=whole(1), metavar="N", help="the same as --set epochs=N"),
        option(
            "--views",
            type=whole(1),
            metavar="K",
            help=f"augmented views of a picture in the bank; default: {VIEWS} (sample: {SAMPLE_VIEWS})",
        ),
        option("--name", help="name of the study; default: SPACE@DATA"),
        option("--copy-from", metavar="OLD", help="begin with the finished trials of study OLD that still fit"),
        option("--spaces", type=Path, metavar="DIR", help="default: search_spaces"),
        option("--sampler", choices=SAMPLERS, default=SAMPLERS[0], help="default: %(default)s"),
        option(
            "--pruner",
            choices=PRUNERS,
            help=f"default: {PRUNERS[0]}; by folds within the first one; {PAIRED}: after each fold of every trial",
        ),
        option(
            "--confirm",
            type=whole(0),
            metavar="N",
            help="then train what may be the best again, with other seeds, by folds in all of them, at most N times; "
            "default: by folds a tenth of --trials, else 0",
        ),
        option("--seed", type=whole(0), default=0, metavar="N", help="the sampler's; default: %(default)s"),
        option("--dry-run", action="store_true", help="show what would be searched, and train nothing"),
        option("--json", action="store_true", help="the summary as JSON on stdout, progress on stderr"),
        option("--quiet", action="store_true", help="no progress: the summary alone"),
        *STORES,
        QUOTAS,
        DEVICES,
        option("--per-device", type=whole(1), default=1, metavar="K", help="workers for each; default: %(default)s"),
        *ENGINES,
    )


@command(arguments)
def main(options: Namespace, console: Progress) -> None:
    from milair import api
    from milair.console import summary

    words = vars(options).copy()
    words["overrides"] = pairs("--set", words.pop("set"))
    if epochs := words.pop("epochs"):
        words["overrides"]["epochs"] = str(epochs)
    words["only"] = {name: text.split(",") for name, text in pairs("--only", words["only"]).items()}
    words["limits"] = pairs("--limit", words.pop("limit"), "ms=30")
    _, quiet, dry_run, space = (words.pop(name) for name in ("json", "quiet", "dry_run", "study"))
    if dry_run:
        console.say(api.dry_run(space, console, **words))
        return
    with console.silent(quiet):
        result = api.search(space, console=console, **words)
    if options.json:
        print(json.dumps(result.summary, indent=2))
    else:
        console.say(summary.text(result.summary, options, result.session))


if __name__ == "__main__":
    leave(main())
