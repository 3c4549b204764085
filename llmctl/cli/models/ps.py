"""`llmctl ps`: the engine processes. It looks, and never starts the hub."""

from llmctl.cli.console import flags, out

app = flags.group()


@app.command()
def ps(json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Show the engine processes, a line for each."""
    from llmctl.cli.console.show import show
    from llmctl.view import models

    engines = flags.engines()
    if engines is None:
        out.notice("the hub is not running, so no model is loaded")
        return
    if json:
        for engine in engines:
            out.json_line(engine)
    else:
        show(models.engines(engines))
