"""Tables in a terminal and in a pipe."""

import io

from milair.console.progress import Progress
from milair.console.table import table

ROWS: list[dict[str, object]] = [
    {
        "trial": 3,
        "score": 0.58187,
        "size": "4.86 M",
        "note": None,
        "recipe": "cls conv 1×256, reg [red]linear[/red] 128",
    },
    {"trial": 0, "score": None, "size": "10.1 M", "note": "x", "recipe": "a, " * 100 + "end"},
]


def test_a_table_has_a_line_a_row_where_a_program_reads_it() -> None:
    stream = io.StringIO()
    Progress(stream).say(table(ROWS))
    head, first, second = stream.getvalue().splitlines()
    assert head.split() == ["trial", "score", "size", "note", "recipe"]
    assert first.rstrip() == "    3  0.5819  4.86 M        cls conv 1×256, reg [red]linear[/red] 128"
    assert second.startswith("    0          10.1 M  x     a, a, a,")
    assert second.rstrip().endswith("a, end")
