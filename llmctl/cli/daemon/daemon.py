"""`llmctl daemon`: the hub as a process. What it logs and what ails it is read here and judged elsewhere."""

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
    str, Option("--timeout", help="Let what runs go on for at most this long, then cancel it.", metavar="T")
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
        socket = str(flags.places().socket)
        out.json_line({"state": "stopped", **empty, "socket": socket, "models": [], "requests_in_flight": 0})


@app.command("start")
def start(json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Start the hub; one that runs is left as it is."""
    from llmctl import launch

    paths = flags.places()
    launch.ensure(paths, flags.settings(), out.notice)
    _print(_status(paths))


@app.command("stop")
def stop(timeout: Timeout = "10s", json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Stop the hub; what runs may end first."""
    _stop(flags.places(), timeout)
    _print(None)


def _stop(paths: "Paths", timeout: str) -> None:
    from llmctl import launch

    seconds = _seconds(timeout)
    pid = launch.listening(paths)
    if pid is None:
        if not launch.wait_gone(paths, seconds + launch.GRACE_S):
            raise Unreachable(f"a hub that is stopping still holds {paths.lock}")
        return
    cancelled = launch.stop(paths, pid, seconds, out.notice)
    if cancelled:
        out.notice(f"cancelled: {', '.join(cancelled)}")


def _seconds(timeout: str) -> float:
    from llmctl.config import parse_duration

    try:
        return float(parse_duration(timeout))
    except ValueError as error:
        raise Usage(f"--timeout: {error}") from error


@app.command("restart")
def restart(timeout: Timeout = "10s", json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Stop the hub and start it with the configuration as it is now."""
    from llmctl import launch

    paths, config = flags.places(), flags.settings()
    _stop(paths, timeout)
    launch.ensure(paths, config, out.notice)
    _print(_status(paths))


@app.command("status")
def status(json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Say in a line how the hub is: status 0 when it runs, 3 when not."""
    found = _status(flags.places())
    _print(found)
    if found is None:
        raise typer.Exit(Unreachable.status)


@app.command("logs")
def logs(
    lines: Annotated[int, Option("--lines", "-n", help="So many of the last lines.")] = 50,
    follow: Annotated[bool, Option("--follow", "-f", help="Go on with what is written from now on.")] = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Print the hub's log."""
    from llmctl.cli.daemon import logs as reading

    reading.show(flags.places().logs / "hub.log", lines, follow)


@app.command("doctor")
def doctor(json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Look for what ails this installation, and say what to do. Status 3 when something fails."""
    from llmctl.cli.daemon import doctor as examining

    if not examining.examine():
        raise typer.Exit(Unreachable.status)


@app.command("install")
def install(
    print_only: Annotated[bool, Option("--print", help="Print the unit and write nothing.")] = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Write a unit that starts the hub at login, and print the commands that turn it on."""
    from llmctl.cli.daemon import install as installing

    installing.install(print_only)
