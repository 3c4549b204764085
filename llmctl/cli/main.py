"""The table of commands, and the way from a command line to an exit status.

A command's file is imported when the command is called; nothing here knows what a command does.
"""

import contextlib
import errno
import os
import sys
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer

from llmctl import __version__
from llmctl.cli.console import flags, out, signals
from llmctl.errors import Cancelled, LlmctlError, Storage, Usage, short

ROOMS = {
    "asking": {
        "ask": "Ask a model; the answer is on stdout.",
        "chat": "Hold a conversation at a prompt.",
        "embed": "Turn texts into vectors: one JSON line per text, in order.",
    },
    "models": {
        "models": "Add, load and list models.",
        "ps": "Show the engine processes.",
        "pull": "Download a model from Hugging Face and add it.",
    },
    "cache": {"cache": "Show, fill and clear the stored answers."},
    "money": {"budget": "Limit what users, groups, models and tags may spend."},
    "daemon": {"daemon": "Start, stop and examine the hub."},
    "setup": {
        "templates": "List, show, edit and remove templates.",
        "config": "Show, check and create the configuration.",
        "completion": "Print the completion script of a shell.",
    },
}
"""Folder -> its commands, each with its help. The file is cli/FOLDER/NAME.py, and its `app` holds the command."""
HEADINGS = {"asking": "Ask", "models": "Models", "cache": "Cache", "money": "Money", "daemon": "Hub", "setup": "Setup"}
"""Folder -> the heading of its commands in `llmctl --help`."""
COMMANDS = {name: help for commands in ROOMS.values() for name, help in commands.items()}
MODULES = {name: f"llmctl.cli.{folder}.{name}" for folder, commands in ROOMS.items() for name in commands}

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)
"""Errors of the operating system that say that a disk takes no more."""
NO_PATH = (errno.ENAMETOOLONG, errno.ELOOP)
"""Errors of the operating system about a path that no file can have, wherever it was given."""
UsageError: Any = typer.BadParameter.__base__
"""Usage errors of the copy of click inside typer (since 0.27), reached through the one name that typer exports."""


class CommandTable(flags.Commands):
    """The commands of the table; a command's file is imported when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        command = typer.main.get_command(import_module(MODULES[cmd_name]).app)
        command.name = cmd_name
        return command

    def format_options(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("First steps"):
            steps = _first_steps()
            formatter.write_dl(steps, col_max=max(len(command) for command, _ in steps))
        width = max(map(len, COMMANDS))
        for folder, commands in ROOMS.items():
            with formatter.section(HEADINGS[folder]):
                formatter.write_dl([(name.ljust(width), words) for name, words in commands.items()])
        with formatter.section("Options"):
            formatter.write_dl([param.get_help_record(ctx) for param in self.get_params(ctx)])


def _first_steps() -> list[tuple[str, str]]:
    """(command, help) for somebody who types `llmctl` for the first time."""
    from llmctl.suggestions import best_fit, gigabytes

    best = best_fit()
    return [
        ('llmctl ask "How do I use my own model file?"', "The built-in guide."),
        (best.command, f"Get a model, {gigabytes(best)}."),
        ('llmctl ask "Why is the sky blue?"', "Ask it a question."),
    ]


app = flags.group("Run language models on your own machine, from the shell.")


@app.callback(cls=CommandTable, invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the versions of client, protocol and running hub.")
    ] = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Handles `llmctl` without a command."""
    if version:
        print_version()
        raise typer.Exit
    if context.invoked_subcommand is None:
        out.aside(context.get_help() + "\n")
        raise typer.Exit(2)


def print_version() -> None:
    from llmctl import launch, wire

    hub = None
    with contextlib.suppress(LlmctlError):  # a hub that does not answer is left out
        hub = launch.running(flags.paths())
    if out.Mode.json:
        running = {"pid": hub.pid, "version": hub.version, "protocol": hub.protocol} if hub else None
        out.json_line({"version": __version__, "protocol": wire.PROTOCOL, "hub": running})
        return
    out.line(f"llmctl {__version__}, protocol {wire.PROTOCOL}")
    out.line(f"hub {hub.version}, protocol {hub.protocol}, pid {hub.pid}" if hub else "hub not running")


def main() -> NoReturn:
    """The console script."""
    _occupy_standard_streams()
    signals.install()
    status = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            if stream is not None:
                stream.flush()
    os._exit(status)  # skips the interpreter's shutdown, which takes 10 ms


def _occupy_standard_streams() -> None:
    """Opens closed standard streams on /dev/null, so that no file opened later takes their number."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(handle)


def run(arguments: list[str]) -> int:
    """One command line; its exit status."""
    try:
        return _invoke(arguments)
    except signals.Interrupt as interrupt:
        if out.Mode.json or "--json" in arguments:
            out.Mode.json = True
            out.failure(Cancelled(f"cancelled by signal {interrupt.status - 128}"))
        return interrupt.status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:  # noqa: BLE001  the last one: a bug becomes status 1 and a traceback in the log
        out.Mode.json = out.Mode.json or "--json" in arguments
        return _failed(error, arguments)


def _failed(error: Exception, arguments: list[str]) -> int:
    from llmctl.cli import failures
    from llmctl.cli.console import quoting

    if isinstance(error, typer.Abort):
        return 130
    if isinstance(error, UsageError):
        return failures.usage(error, typer.main.get_command(app), arguments)
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        error = Storage(f"a write failed: {error.strerror}")  # help is not printed by `out`
    if isinstance(error, OSError) and error.errno in NO_PATH:
        error = Usage(f"{error.strerror}: {short(str(error.filename))}", "Correct the path.")
    if not isinstance(error, LlmctlError):
        return failures.bug(error)
    if error.code == "invalid_request" and (hint := quoting.dashes_hint(arguments)):
        error.hint = hint  # `-say hi` was parsed as `-s "ay hi"`, without a prompt
    out.failure(error)
    return error.status


def _invoke(arguments: list[str]) -> int:
    command: Any = typer.main.get_command(app)
    try:
        with command.make_context("llmctl", arguments) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return 0
