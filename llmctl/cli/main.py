"""The assembly: which commands there are, and how each exception becomes words and an exit status.

A command's file is imported when it is called; nothing here knows what a command does.
"""

import contextlib
import errno
import os
import sys
from importlib import import_module
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from llmctl import __version__
from llmctl.cli import flags, out, signals, texts
from llmctl.errors import Cancelled, LlmctlError, Storage, Usage, nearest

COMMANDS = {
    "ask": "Ask a model; the answer is on stdout.",
    "chat": "Hold a conversation at a prompt.",
    "embed": "Make texts into vectors: a JSON line for each, in order.",
    "models": "Add, load and list models.",
    "ps": "Show the engine processes.",
    "pull": "Fetch a model of the Hugging Face hub, and add it.",
    "templates": "List, show, edit and remove templates.",
    "cache": "Show and clear what is stored.",
    "daemon": "Start, stop and examine the hub.",
    "config": "Show, check and begin the configuration.",
    "completion": "Print the completion script of a shell.",
}
"""Name -> help. The file is cli/NAME.py, and its `app` holds the command."""

UsageError: Any = typer.BadParameter.__base__
"""typer carries its own copy of click since 0.27; its usage errors are found through the one name that it exports."""


class Commands(TyperGroup):
    """The commands of the table; the file of one is imported when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        command = typer.main.get_command(import_module(f"llmctl.cli.{cmd_name}").app)
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise Usage(f"there is no command {args[0]!r}", nearest(args[0], COMMANDS))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


app = flags.group()


@app.callback(cls=Commands, invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Client, hub (if it runs) and protocol.")] = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Run language models on your own machine, from the shell."""
    if version:
        print_version()
        raise typer.Exit
    if context.invoked_subcommand is None:
        out.aside(context.get_help() + "\n")
        raise typer.Exit(2)


def print_version() -> None:
    from llmctl import launch, wire

    hub = None
    with contextlib.suppress(LlmctlError):  # one that does not answer has no version to tell
        hub = launch.running(flags.places())
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
    os._exit(status)  # taking the interpreter apart takes 10 ms, and nothing is left to do


def _occupy_standard_streams() -> None:
    """A file opened later must not become stdin, stdout or stderr because that one was closed."""
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
    except UsageError as error:
        out.Mode.json = out.Mode.json or "--json" in arguments
        return _usage(error, arguments)
    except LlmctlError as error:
        out.Mode.json = out.Mode.json or "--json" in arguments
        if error.code == "invalid_request" and (hint := texts.behind_dashes(arguments)):
            error.hint = hint  # as when `-say hi` was taken for `-s "ay hi"`, and there is no prompt
        out.failure(error)
        return error.status
    except typer.Abort:
        return 130
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
            return _bug(error)
        out.failure(Storage(f"a write was refused: {error.strerror}"))  # help is not printed by `out`
        return Storage.status
    except Exception as error:  # noqa: BLE001  the last one: it becomes status 1 and a trace in the log
        return _bug(error)


def _invoke(arguments: list[str]) -> int:
    command: Any = typer.main.get_command(app)
    try:
        with command.make_context("llmctl", arguments) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return 0


def _usage(error: Any, arguments: list[str]) -> int:
    path = error.ctx.command_path if error.ctx is not None else _called(arguments)
    if type(error).__name__ == "NoArgsIsHelpError":
        out.aside(error.format_message() + "\n")
    else:
        message = error.format_message().rstrip(".")
        hint = (
            texts.behind_dashes(arguments) or texts.unquoted(path, message) or f"`{path} --help` lists what it takes."
        )
        out.failure(Usage(message[:1].lower() + message[1:], hint))
    return Usage.status


def _called(arguments: list[str]) -> str:
    """The command that a command line names. An option without its value is told without it."""
    command: Any = typer.main.get_command(app)
    path = ["llmctl"]
    for word in arguments:
        found = command.get_command(None, word) if hasattr(command, "get_command") else None
        if found is not None:
            command = found
            path.append(word)
        elif not word.startswith("-"):
            break
    return " ".join(path)


def _bug(error: Exception) -> int:
    import traceback

    from llmctl.errors import Internal
    from llmctl.paths import make_private

    if os.environ.get("LLMCTL_DEBUG", "0") not in ("", "0"):
        traceback.print_exc()
        return Internal.status
    log = flags.places().logs / "client.err"
    hint = f"The trace is in {log}; LLMCTL_DEBUG=1 shows it here."
    try:
        make_private(log.parent)
        with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "a", encoding="utf-8") as file:
            traceback.print_exc(file=file)
    except (OSError, LlmctlError):
        hint = "LLMCTL_DEBUG=1 shows the trace."
    out.failure(Internal(f"this is a bug of llmctl: {type(error).__name__}: {error}", hint))
    return Internal.status
