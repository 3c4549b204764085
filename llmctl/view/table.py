"""Tables: aligned with spaces in a pipe, fitted by rich in a terminal. Control characters in cells are escaped."""

from collections.abc import Sequence

from llmctl.view.printable import printable

Rows = Sequence[Sequence[str]]


def plain(head: Sequence[str], rows: Rows) -> str:
    """One line per row with two spaces between columns, never wrapped or cut; "" without rows."""
    if not rows:
        return ""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"
        for row in ((head, *rows) if any(head) else rows)
    )


def fitted(head: Sequence[str], rows: Rows, width: int, colour: bool = True) -> str:
    """The same table for a terminal of `width` columns; long cells are folded inside their column."""
    import io

    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        return ""
    table = Table(box=None, show_header=any(head), pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in head:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    page = io.StringIO()
    Console(
        file=page, width=width, force_terminal=colour, highlight=False, color_system="standard" if colour else None
    ).print(table)
    return "\n".join(line.rstrip() for line in page.getvalue().splitlines()) + "\n"
