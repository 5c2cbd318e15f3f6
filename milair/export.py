"""`python -m milair.export`: a model as an ONNX file, checked against torch, that predicts without milair."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from milair.console.command import Progress, command, leave
from milair.console.options import option, parser


def arguments() -> ArgumentParser:
    return parser(
        "export",
        "Write a model that retrain saved as an ONNX file, which takes frames of any size as uint8 RGB. It is checked "
        "against torch first.",
        "python -m milair.export studies/models/heads@frames-7 --out aircraft.onnx --check my/pictures",
        option("model", type=Path, metavar="MODEL", help="a folder that retrain wrote"),
        option("--out", type=Path, metavar="FILE.onnx", help="default: model.onnx in MODEL"),
        option(
            "--half",
            action="store_true",
            help="weights in half precision, if that changes outputs by no more than 0.005 on average",
        ),
        option(
            "--check",
            nargs="+",
            metavar="IMAGE_OR_DIR",
            help="pictures, or folders of them, on which ONNX Runtime and torch must agree; default: a few drawn ones",
        ),
    )


@command(arguments)
def main(options: Namespace, console: Progress) -> None:
    from milair import api
    from milair.frames import listing

    check = [picture.path for picture in listing.named(options.check)] if options.check else None
    console.say(str(api.export(options.model, options.out, half=options.half, check=check)))


if __name__ == "__main__":
    leave(main())
