"""`python -m milair.retrain`: train a trial of a study again, by the same code and seed, and keep the model."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from milair.console.command import Progress, command, leave
from milair.console.options import DEVICES, ENGINES, QUOTAS, STORES, option, parser, whole
from milair.errors import UsageError


def arguments() -> ArgumentParser:
    return parser(
        "retrain",
        "Train the best trial of a study again and save the model; its metrics come out as they did in the search.",
        "python -m milair.retrain --study heads@frames --seeds 3 --flip",
        option("--study", required=True, metavar="NAME", help="heads@frames, or heads if there is only one"),
        option("--trial", default="best", metavar="best|N", help="default: %(default)s"),
        option("--top", type=whole(1), default=1, metavar="K", help="the K best trials; default: %(default)s"),
        option("--on", choices=("train", "all"), default="train", help="all: train on the validation frames as well"),
        option("--seeds", type=whole(1), default=1, metavar="N", help="train N models of each, show the spread"),
        option("--flip", action="store_true", help="predict mirrored pictures as well, if validation prefers that"),
        option(
            "--unfreeze",
            type=whole(1),
            default=0,
            metavar="N",
            help="then train the backbone's last N blocks too (of a SqueezeNet Fire modules, of a ResNet residual "
            "blocks), and save that if validation prefers it",
        ),
        option("--out", type=Path, metavar="DIR", help="default: models/NAME-TRIAL in --studies"),
        option("--data", metavar="DIR", help="where the frames lie now, if they moved"),
        option("--weights", metavar="W", help="where the weights lie now, if they moved: imagenet, FILE or DIR"),
        *STORES,
        QUOTAS,
        DEVICES,
        *ENGINES,
    )


@command(arguments)
def main(options: Namespace, console: Progress) -> None:
    from milair import api
    from milair.study.retraining import Combined, Retrained, spread

    if options.trial != "best" and not options.trial.isdecimal():
        raise UsageError(f"--trial {options.trial}: it must be 'best' or a number")
    words = {name: value for name, value in vars(options).items() if name != "trial"}
    if options.trial != "best" and options.top > 1:
        raise UsageError(f"--trial {options.trial} is one trial; --top {options.top} takes the best ones")
    models = api.retrain(trial=None if options.trial == "best" else int(options.trial), console=console, **words)
    differences = (model.difference for model in models if model.difference is not None)
    if (difference := next(differences, None)) is not None:
        console.say(f"largest difference from the trial's own metrics: {difference:.1e}")
    by_folds = [model for model in models if isinstance(model, Combined) and model.members == model.folds > 1]
    alone: Sequence[Combined | Retrained] = by_folds or [model for model in models if isinstance(model, Retrained)]
    if len(alone) > 1 and options.on == "train":
        console.say(spread(alone))


if __name__ == "__main__":
    leave(main())
