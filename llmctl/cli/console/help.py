"""Help of commands with many options: the options stand under headings, and examples follow.

It lays out what the options say themselves; the order within a heading is the order of the command's parameters.
"""

from typing import Any

import typer

from llmctl.cli.console import flags

COMMON = "Common options"
"""The heading of options without a heading of their own: those that every command has."""
FIRST_COLUMN = 26


def option(heading: str, *names: str, help: str, metavar: str | None = None) -> Any:
    """An option that stands under `heading`."""
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=heading)


class Sectioned(flags.Command):
    """A command whose options are grouped by heading and whose epilog holds examples, printed as they stand."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None:
                sections.setdefault(_heading(param), []).append(record)
        sections[COMMON] = sections.pop(COMMON)  # last
        width = min(FIRST_COLUMN, max(len(name) for rows in sections.values() for name, _ in rows))
        for heading, rows in sections.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(width), words) for name, words in rows], col_max=FIRST_COLUMN)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        if self.epilog:
            with formatter.section("Examples"):
                for line in self.epilog.strip().splitlines():
                    formatter.write(f"  {line}\n")


def _heading(param: Any) -> str:
    if param.param_type_name == "argument":
        return "Arguments"
    return getattr(param, "rich_help_panel", None) or COMMON
