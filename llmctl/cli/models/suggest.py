"""`llmctl models suggest`: small open models to download, those that fit this machine first.

A process of its own tells what the machine has; no hub is started, and the network is not used.
"""

import shutil
import sys
from enum import Enum
from typing import Annotated

import msgspec
from typer import Option

from llmctl.cli.console import flags, out
from llmctl.errors import Internal, from_code
from llmctl.interpreter import apart, module

EXAMPLES = """
llmctl models suggest
llmctl models suggest --for code
"""


class PurposeChoice(str, Enum):
    """suggestions.PURPOSES, as typer takes choices."""

    chat = "chat"
    code = "code"
    embed = "embed"
    tools = "tools"


class Trouble(msgspec.Struct):
    """The error that ended the survey."""

    code: str
    message: str
    hint: str = ""


class SurveyLine(msgspec.Struct):
    """The line of `python -m llmctld.survey`: bytes, bytes per second, and the day of the measurement; or an error."""

    host: int = 0
    gpu: int = 0
    host_rate: float | None = None
    gpu_rate: float | None = None
    row_s: float = 0.0
    measured: str | None = None
    error: Trouble | None = None


def suggest(
    for_: Annotated[
        PurposeChoice | None, Option("--for", help="List models that are good at this: chat, code, embed or tools.")
    ] = None,
    measure: Annotated[
        bool, Option("--measure", help="Measure the memory bandwidth again, which takes a second.")
    ] = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """List small open models to download; those that fit come first.

    TOK/S is estimated from the machine's memory bandwidth, which is measured once.
    """
    from llmctl import suggestions
    from llmctl.cli.console.show import show
    from llmctl.view import suggest as view

    flags.settings()
    found = _survey(measure)
    room = suggestions.Room(found.host, found.gpu, found.host_rate, found.gpu_rate, found.row_s)
    ranked = suggestions.ranked(room, for_ and for_.value)
    dated = suggestions.suggested().dated
    if json:
        for it in ranked:
            out.json_line(view.as_json(it, dated))
        return
    out.notice(view.machine(room, found.measured, dated))
    if not out.is_terminal(sys.stdout):
        show(view.table(ranked))
        return
    content, commands = view.in_width(ranked, shutil.get_terminal_size().columns)
    show(content)
    if commands:
        out.line("\n" + "\n".join(commands))


def _survey(measure: bool) -> SurveyLine:
    if measure or not flags.paths().bandwidth.exists():
        out.progress("measuring the memory bandwidth")
    command = module("llmctld.survey", *(["--measure"] if measure else []))
    with apart(command) as process:
        assert process.stdout is not None
        try:
            raw = process.stdout.readline()
        finally:
            out.progress("")
    try:
        line = msgspec.json.decode(raw, type=SurveyLine)
    except msgspec.DecodeError as error:
        raise Internal(f"the survey printed {raw[:80]!r} instead of JSON", "Its own output is above.") from error
    if line.error is not None:
        raise from_code(line.error.code, line.error.message, line.error.hint)
    return line
