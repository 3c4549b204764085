"""`llmctl ps`: the engine processes. It never starts the hub."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmctl.cli.console import flags, out

if TYPE_CHECKING:
    from llmctl import wire

app = flags.group()


@app.command()
def ps(json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Show the engine processes, one line each."""
    engines = flags.engines()
    if engines is None:
        out.notice("the hub is not running, so no model is loaded")
    elif not engines and not json:
        out.notice("no model is loaded; a request loads one, and so does `llmctl models load NAME`")
    else:
        print_engines(engines)


def print_engines(engines: "Sequence[wire.EngineStatus]") -> None:
    if out.Mode.json:
        for engine in engines:
            out.json_line(engine)
    else:
        from llmctl.cli.console.show import show
        from llmctl.view import models

        show(models.engines(engines))
