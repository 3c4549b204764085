"""Printing a table on stdout: fitted to the width of a terminal, plain in a pipe."""

import shutil
import sys

from llmctl.cli.console import out
from llmctl.view import table
from llmctl.view.models import Table


def show(content: Table) -> None:
    head, rows = content
    if out.is_terminal(sys.stdout):
        width = shutil.get_terminal_size().columns
        out.text(table.fitted(head, rows, width, colour=out.has_colour(sys.stdout)), styled=True)
    else:
        out.text(table.plain(head, rows))
