"""`python -m milair.retrain`: train a trial of a study again, by the same code and seed, and keep the model."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from milair.console.command import Progress, command, leave
from milair.console.options import DEVICE, QUOTAS, STORES, option, parser, whole
from milair.errors import UsageError


def arguments() -> ArgumentParser:
    return parser(
        "retrain",
        "Train the best trial of a study again and save the model; its metrics come out as they did in the search.",
        "python -m milair.retrain --study heads@frames --seeds 3",
        option("--study", required=True, metavar="NAME", help="heads@frames, or heads if there is only one"),
        option("--trial", default="best", metavar="best|N", help="default: %(default)s"),
        option("--on", choices=("train", "all"), default="train", help="all: train on the validation frames as well"),
        option("--seeds", type=whole(1), default=1, metavar="N", help="train N models and show the spread"),
        option("--out", type=Path, metavar="DIR", help="default: models/NAME-TRIAL in --studies"),
        option("--data", metavar="DIR", help="where the frames lie now, if they moved"),
        option("--weights", metavar="W", help="where the weights lie now, if they moved: imagenet, FILE or DIR"),
        *STORES,
        QUOTAS,
        DEVICE,
    )


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
