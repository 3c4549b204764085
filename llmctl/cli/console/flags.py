"""What all commands share: command groups, the common flags, the configuration, the hub, and the question before deleting.

It knows no single command.
"""

import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from llmctl.cli.console import out
from llmctl.errors import Unreachable, Usage, short

if TYPE_CHECKING:
    from llmctl import wire
    from llmctl.client import Client
    from llmctl.config import Config
    from llmctl.paths import Paths

R = TypeVar("R")
BRACED = re.compile(r"\{.*\}")


class Command(TyperCommand):
    """A command whose usage line names a required argument NAME, where typer would print {NAME}."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece[1:-1] if BRACED.fullmatch(piece) else piece for piece in super().collect_usage_pieces(ctx)]


class Commands(TyperGroup):
    """A group that answers a command which does not exist with the one that was probably meant."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            from llmctl.cli.console.quoting import command_hint

            path = ctx.command_path
            named = " ".join([*path.split()[1:], args[0]])
            raise Usage(f"there is no command {short(named)!r}", command_hint(path, args[0], self.list_commands(ctx)))
        return super().resolve_command(ctx, args)


class Group(typer.Typer):
    """Registers functions as the commands above, unless they name another class."""

    def command(self, name: str | None = None, *, cls: type[TyperCommand] | None = None, **rest: Any) -> Any:
        return super().command(name, cls=cls or Command, **rest)


def group(help: str | None = None) -> typer.Typer:
    """A command group without typer's rich help, completion and tracebacks."""
    return Group(
        cls=Commands,
        help=help,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
    )


def _set(name: str) -> Callable[[bool], bool]:
    def set_mode(value: bool) -> bool:
        if value:
            setattr(out.Mode, name, True)
        return value

    return set_mode


Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON object per line.", callback=_set("json"), is_eager=True)
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Suppress notices on stderr.", callback=_set("quiet"), is_eager=True)
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")]


def paths() -> "Paths":
    from llmctl.paths import find_paths

    return find_paths()


def settings() -> "Config":
    from llmctl import config

    return config.load(paths().config_file)


def connect() -> "Client":
    """A connected client whose notices go to stderr."""
    from llmctl.client import Client

    return Client(on_notice=out.notice)


def confirm(yes: bool, what: Sequence[str]) -> None:
    """Asks in a terminal. Elsewhere, without `--yes`, prints what would be deleted and raises Usage."""
    if yes:
        return
    if out.is_terminal(sys.stdin) and out.is_terminal(sys.stdout):
        for item in what:
            out.aside(f"{out.shown(item, sys.stderr)}\n")
        if not typer.confirm("Delete?", err=True):
            raise Usage("nothing was deleted", "")
        return
    for item in what:
        if out.Mode.json:
            out.json_line({"would_delete": item})
        else:
            out.line(item)
    raise Usage(
        "nothing was deleted: without a terminal this command needs --yes", "stdout lists what would be deleted."
    )


def absolute(name: str) -> str:
    from llmctl.paths import absolute as full

    return str(full(name))


def pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    """Items `key=value` as a dict. Raises Usage for an item without `=`."""
    found = {}
    for item in given:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise Usage(f"{option} {item!r} is not KEY=VALUE", f"Write it as {option} KEY=VALUE.")
        found[key] = value
    return found


def duration(option: str, text: str) -> float:
    """Seconds. Raises Usage."""
    from llmctl.config import parse_duration

    try:
        return float(parse_duration(text))
    except ValueError as error:
        raise Usage(f"{option}: {error}") from error


def ask_running_hub(request: "wire.Request") -> "wire.AnyResult | None":
    """The hub's result for a request that must not start a hub, or None if none is running. Checks the configuration first."""
    from llmctl import launch
    from llmctl.client import result_of
    from llmctl.link import Link, call

    home = paths()
    settings()
    hub = launch.running(home)
    if hub is None:
        return None
    link = Link(home.socket, hub.pid)
    try:
        return result_of(call(link, request))
    finally:
        link.close()


def call(request: "wire.Request", kind: type[R]) -> R:
    """The hub's result for a request, a `kind`; starts the hub if needed. Raises what `Client.call` raises."""
    with connect() as client:
        return expected(client.call(request), kind)


def expected(result: object, kind: type[R]) -> R:
    """The result, if it is a `kind`. Raises Unreachable."""
    if not isinstance(result, kind):
        raise Unreachable(f"the hub answered with {type(result).__name__}, not {kind.__name__}")
    return result


def engines() -> "list[wire.EngineStatus] | None":
    """The engine processes, or None if no hub is running."""
    from llmctl import wire

    found = ask_running_hub(wire.Ps())
    return found.engines if isinstance(found, wire.Engines) else None
