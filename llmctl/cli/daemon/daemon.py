"""`llmctl daemon`: starting, stopping and examining the hub process."""

from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from llmctl.cli.console import flags, out
from llmctl.errors import Unreachable, Usage

if TYPE_CHECKING:
    from llmctl import wire
    from llmctl.paths import Paths

app = flags.group("Start, stop and examine the hub.")

Timeout = Annotated[
    str, Option("--timeout", help="Wait this long for running requests, then cancel them.", metavar="T")
]


def _status(paths: "Paths") -> "wire.HubStatus | None":
    from llmctl import launch

    hub = launch.running(paths)
    return launch.ask_status(paths, hub.pid) if hub else None


def _print(found: "wire.HubStatus | None") -> None:
    from llmctl.view import daemon as view

    if not out.Mode.json:
        out.line(view.status(found))
    elif found is not None:
        out.json_line(found)
    else:
        empty = dict.fromkeys(("pid", "version", "protocol", "uptime_s"))
        socket = str(flags.paths().socket)
        out.json_line({"state": "stopped", **empty, "socket": socket, "models": [], "requests_in_flight": 0})


@app.command("start")
def start(json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Start the hub, if it is not running."""
    from llmctl import launch

    paths = flags.paths()
    launch.ensure(paths, flags.settings(), out.notice)
    _print(_status(paths))


@app.command("stop")
def stop(timeout: Timeout = "10s", json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Stop the hub after its running requests."""
    _stop(flags.paths(), timeout)
    _print(None)


def _stop(paths: "Paths", timeout: str) -> None:
    from llmctl import launch

    seconds = _seconds(timeout)
    pid = launch.listening(paths)
    if pid is None:
        if not launch.wait_gone(paths, seconds + launch.GRACE_S):
            raise Unreachable(f"a hub that is stopping still holds the lock {paths.lock}")
        return
    cancelled = launch.stop(paths, pid, seconds, out.notice)
    if cancelled:
        out.notice(f"cancelled requests: {', '.join(cancelled)}")


def _seconds(timeout: str) -> float:
    from llmctl.config import parse_duration

    try:
        return float(parse_duration(timeout))
    except ValueError as error:
        raise Usage(f"--timeout: {error}") from error


@app.command("restart")
def restart(timeout: Timeout = "10s", json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Stop the hub and start it again with the current configuration."""
    from llmctl import launch

    paths, config = flags.paths(), flags.settings()
    _stop(paths, timeout)
    launch.ensure(paths, config, out.notice)
    _print(_status(paths))


@app.command("status", short_help="Print the state of the hub on one line.")
def status(json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Print the state of the hub on one line.

    The exit status is 0 if it is running, 3 if not.
    """
    found = _status(flags.paths())
    _print(found)
    if found is None:
        raise typer.Exit(Unreachable.status)


@app.command("logs")
def logs(
    lines: Annotated[int, Option("--lines", "-n", help="Number of last lines to print.", metavar="N")] = 50,
    follow: Annotated[bool, Option("--follow", "-f", help="Keep printing new lines.")] = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Print the hub's log."""
    from llmctl.cli.daemon import logs as reading

    reading.show(flags.paths().logs / "hub.log", lines, follow)


@app.command("doctor", short_help="Check this installation and suggest fixes.")
def doctor(json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Check this installation and say how to fix what is wrong.

    The exit status is 3 if a check fails.
    """
    from llmctl.cli.daemon import doctor as examining

    if not examining.examine():
        raise typer.Exit(Unreachable.status)


@app.command("install", short_help="Write a unit that starts the hub at login.")
def install(
    print_only: Annotated[bool, Option("--print", help="Print the unit instead of writing it.")] = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Write a unit that starts the hub at login, and print the commands that enable it.

    The unit is for systemd on Linux, for launchd on macOS.
    """
    from llmctl.cli.daemon import install as installing

    installing.install(print_only)
