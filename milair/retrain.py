"""`python -m milair.retrain`: train a trial of a study again, by the same code and seed, and keep the model."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from milair.console import options as shared
from milair.console.command import Progress, command, leave
from milair.errors import UsageError


def arguments() -> ArgumentParser:
    parser = shared.parser(
        "retrain",
        "Train the best trial of a study again and save the model; its metrics come out as they did in the search.",
        "python -m milair.retrain --study heads@frames --seeds 3",
    )
    add = parser.add_argument
    add("--study", required=True, metavar="NAME", help="heads@frames, or heads if there is only one")
    add("--trial", default="best", metavar="best|N", help="default: %(default)s")
    add("--on", choices=("train", "all"), default="train", help="all: train on the validation frames as well")
    add("--seeds", type=shared.whole(1), default=1, metavar="N", help="train N models and show the spread")
    add("--out", type=Path, metavar="DIR", help="default: models/NAME-TRIAL in --studies")
    add("--data", metavar="DIR", help="where the frames lie now, if they moved")
    add("--weights", metavar="W", help="where the weights lie now, if they moved: imagenet, FILE or DIR")
    shared.add_places(parser)
    return parser


@command(arguments)
def main(options: Namespace, console: Progress) -> None:
    from milair import api
    from milair.study.retraining import spread

    if options.trial != "best" and not options.trial.isdecimal():
        raise UsageError(f"--trial {options.trial}: it must be 'best' or a number")
    words = {name: value for name, value in vars(options).items() if name not in ("debug", "trial")}
    models = api.retrain(trial=None if options.trial == "best" else int(options.trial), console=console, **words)
    if models[0].difference is not None:
        console.say(f"largest difference from the trial's own metrics: {models[0].difference:.1e}")
    if len(models) > 1:
        console.say(spread(models))


if __name__ == "__main__":
    leave(main())
