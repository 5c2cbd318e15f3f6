"""Tables as a terminal shows them: as wide as it is, and of any width where a program reads them."""

from collections.abc import Mapping, Sequence

from rich.table import Table


def table(rows: Sequence[Mapping[str, object]]) -> Table:
    """Rows with the same keys, which are the headings. In a narrow terminal the last column is folded.

    Quantities (0.5, "4.86 M") stand to the right, floats have four decimals, and None is empty."""
    lines = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    columns = {name: [_cell(row[name]) for row in rows] for name in rows[0]}
    for name, cells in columns.items():
        quantity = all(cell[:1].isdigit() for cell in cells if cell)
        lines.add_column(name, justify="right" if quantity else "left", no_wrap=name != [*columns][-1])
    for row in zip(*columns.values(), strict=True):
        lines.add_row(*row)
    return lines


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
