"""Usage errors and bugs: the message, the hint and the exit status of each.

Imported only once something has failed; errors of llmctl's own kinds carry their message with them and need nothing from here.
"""

import os
import sys
import traceback
from typing import Any

from llmctl.cli.console import flags, out, quoting
from llmctl.errors import Internal, LlmctlError, Usage
from llmctl.paths import make_private
from llmctl.secret import hide


def usage(error: Any, root: Any, arguments: list[str]) -> int:
    """Reports an error of typer's parser. `root` is the command `llmctl` itself."""
    if type(error).__name__ == "NoArgsIsHelpError":
        out.aside(error.format_message() + "\n")
        return Usage.status
    path = error.ctx.command_path if error.ctx is not None else _named(root, arguments)
    message = " ".join(error.format_message().split()).rstrip(".")
    hint = quoting.dashes_hint(arguments) or quoting.unquoted(path, message) or f"`{path} --help` lists the options."
    out.failure(Usage(message[:1].lower() + message[1:], hint))
    return Usage.status


def _named(root: Any, arguments: list[str]) -> str:
    """The command that `arguments` name. The parser does not say it for an option without its value."""
    command = root
    path = ["llmctl"]
    for word in arguments:
        found = command.get_command(None, word) if hasattr(command, "get_command") else None
        if found is not None:
            command = found
            path.append(word)
        elif not word.startswith("-"):
            break
    return " ".join(path)


def bug(error: Exception) -> int:
    """Reports an exception that nobody expected: its trace goes to a log, or with LLMCTL_DEBUG=1 to stderr."""
    if os.environ.get("LLMCTL_DEBUG", "0") not in ("", "0"):
        out.aside(out.shown(hide(traceback.format_exc()), sys.stderr))
        return Internal.status
    log = flags.paths().logs / "client.err"
    hint = f"The traceback is in {log}; LLMCTL_DEBUG=1 prints it here."
    try:
        make_private(log.parent)
        with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as file:
            file.write(hide(traceback.format_exc()))
    except (OSError, LlmctlError):
        hint = "LLMCTL_DEBUG=1 prints the traceback."
    out.failure(Internal(f"this is a bug in llmctl: {type(error).__name__}: {error}", hint))
    return Internal.status
