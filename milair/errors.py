"""The one error that people see: a single clear line that names the file, row or option and the rule."""


class MilairError(Exception):
    """Something that a person can mend: bad input, a missing file, an option that does not fit."""


class UsageError(MilairError):
    """The command was called wrongly (exit status 2)."""


class OutsideError(MilairError):
    """Trouble outside of a trial that others would meet as well: a full disk, a picture that vanished.

    It ends a search, and the trial in hand waits until it is mended."""


def first_line(error: BaseException) -> str:
    """What another library says, as the part of a line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def what_failed(error: BaseException) -> str:
    """An error as a line: a MilairError as it is, the file that an OSError knows, of others their kind too."""
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, MilairError):
        return str(error)
    return first_line(error) if isinstance(error, OSError) else f"{type(error).__name__}: {first_line(error)}"
