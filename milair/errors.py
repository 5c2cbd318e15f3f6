"""The one error that people see: a single clear line that names the file, row or option and the rule."""


class MilairError(Exception):
    """Something that a person can mend: bad input, a missing file, an option that does not fit."""


class UsageError(MilairError):
    """The command was called wrongly (exit status 2)."""
