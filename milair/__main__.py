"""`milair COMMAND`, the same as `python -m milair.COMMAND`."""

import sys
from importlib import import_module

from milair import __version__
from milair.console.command import DONE, WRONG_USE, leave

COMMANDS = {
    "search": "run a search space as a study, or go on with it",
    "retrain": "train a trial again and keep the model",
    "report": "write a study as one page, its noise beside its scores",
    "dashboard": "open a study in optuna-dashboard, its pictures with it",
    "predict": "detect and classify the object in pictures",
    "export": "write a model as an ONNX file, checked against torch",
    "studies": "list, show, move, rename or delete studies, and free the disk",
    "data": "check labelled frames, or write the built-in sample",
}


def main(argv: list[str] | None = None) -> int:
    words = sys.argv[1:] if argv is None else argv
    if words and words[0] in COMMANDS:
        return int(import_module(f"milair.{words[0]}").main(words[1:]))
    listing = "\n".join(f"  {name:<9} {text}" for name, text in COMMANDS.items())
    asked = words in (["--help"], ["-h"], ["--version"])
    text = f"milair {__version__}\n\n{listing}\n\nmilair COMMAND --help tells more"
    print(text, file=sys.stdout if asked else sys.stderr)
    return DONE if asked else WRONG_USE


def entry() -> None:
    leave(main())


if __name__ == "__main__":
    entry()
