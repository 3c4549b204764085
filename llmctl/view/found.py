"""`models find` as a table and as JSON lines."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from llmctl import wire
from llmctl.stores.stored import StoredModel
from llmctl.view.models import Table
from llmctl.view.printable import printable
from llmctl.view.units import size

WIDE = 160
"""Columns of a terminal in which a path has room beside the rest."""


class FoundModel(NamedTuple):
    """A model of another program. `name`: what `models find --add` calls it; `added`: the model that uses it already."""

    name: str
    stored: StoredModel
    content: wire.FileContent
    added: str | None = None

    @property
    def target(self) -> str:
        """What `models add` takes."""
        return self.stored.target or str(self.stored.path)


def table(found: Sequence[FoundModel], width: int | None) -> Table:
    """`width`: columns of the terminal, None in a pipe; a narrow terminal gets no paths, which would fill it."""
    head = ["NAME", "PROGRAM", "KIND", "ARCH", "QUANT", "SIZE", "FITS", "ADDED"]
    rows = [
        [
            each.name,
            each.stored.program,
            each.content.kind,
            on_one_line(each.content.architecture) or "-",
            each.content.quantization or "-",
            size(each.content.size_bytes),
            "yes" if each.content.fits else "no",
            "yes" if each.added == each.name else each.added or "-",
        ]
        for each in found
    ]
    if width is not None and width < WIDE:
        return head, rows
    return [*head, "TARGET"], [[*row, on_one_line(each.target)] for row, each in zip(rows, found, strict=True)]


def as_json(found: FoundModel) -> dict[str, Any]:
    """A line of `models find --json`; what is unknown is null."""
    content = found.content
    return {
        "name": found.name,
        "program": found.stored.program,
        "target": found.target,
        "path": str(found.stored.path),
        "kind": content.kind,
        "backend": content.backend,
        "architecture": content.architecture or None,
        "quantization": content.quantization or None,
        "context": content.context or None,
        "size_bytes": content.size_bytes,
        "total_bytes": content.total_bytes,
        "fits": content.fits,
        "added": found.added,
    }


def on_one_line(text: str) -> str:
    r"""Control characters and newlines escaped, as in \n: file names may contain them."""
    return printable(text.replace("\n", "\\n").replace("\t", "\\t"))
