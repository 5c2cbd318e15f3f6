"""`python -m milair.retrain`: train a trial of a study again, by the same code and seed, and keep the model."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from milair.console import cli
from milair.errors import UsageError


def arguments() -> argparse.ArgumentParser:
    made = cli.parser(
        "retrain",
        "Train the best trial of a study again and save the model; its metrics come out as they did in the search.",
        "python -m milair.retrain --study heads@frames --seeds 3",
    )
    made.add_argument("--study", required=True, metavar="NAME", help="heads@frames, or heads if there is only one")
    made.add_argument("--trial", default="best", metavar="best|N", help="default: best")
    made.add_argument("--on", choices=("train", "all"), default="train", help="train on the validation frames as well")
    made.add_argument("--seeds", type=cli.whole(1), default=1, metavar="N", help="train N models and show the spread")
    made.add_argument("--out", type=Path, metavar="DIR", help="default: models/NAME-TRIAL in --studies")
    made.add_argument("--data", metavar="DIR", help="where the frames lie now, if they moved")
    made.add_argument("--weights", metavar="W", help="where the weights lie now, if they moved: imagenet, FILE or DIR")
    cli.add_places(made)
    return made


def command(options: argparse.Namespace) -> None:
    from milair import api
    from milair.study.retraining import spread

    if options.trial != "best" and not options.trial.isdecimal():
        raise UsageError(f"--trial {options.trial}: it must be 'best' or a number")
    models = api.retrain(
        options.study,
        trial=None if options.trial == "best" else int(options.trial),
        on=options.on,
        seeds=options.seeds,
        out=options.out,
        data=options.data,
        weights=options.weights,
        device=options.devices,
        studies=options.studies,
        url=options.storage,
        bank=options.bank,
        bank_quota=options.bank_quota,
    )
    if models[0].difference is not None:
        print(f"largest difference from the trial's own metrics: {models[0].difference:.1e}")
    if len(models) > 1:
        print(spread(models))


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(command, arguments(), argv)


if __name__ == "__main__":
    cli.leave(main())
