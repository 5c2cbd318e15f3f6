"""The one error that people see: a single clear line that names the file, row or option and the rule."""


class MilairError(Exception):
    """Something that a person can mend: bad input, a missing file, an option that does not fit."""


class UsageError(MilairError):
    """The command was called wrongly (exit status 2)."""


def first_line(error: BaseException) -> str:
    """What another library says, as the part of a line."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
