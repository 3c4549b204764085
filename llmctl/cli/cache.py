"""`llmctl cache`: what the cache did, and making it empty."""

from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

from llmctl.cli import flags, out
from llmctl.errors import LlmctlError

if TYPE_CHECKING:
    from llmctl import wire

app = flags.group("Show and clear what is stored.")


@app.command("stats")
def stats(json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Show hits and sizes, a line for each level. Without a hub: as the last one left them."""
    from llmctl import wire
    from llmctl.cli.show import show
    from llmctl.view import cache

    found = flags.look(wire.GetCacheStats())
    counted = found if isinstance(found, wire.CacheStats) else _left_behind()
    if json:
        for level in counted.levels:
            out.json_line(level)
        out.json_line(cache.total(counted))
    else:
        show(cache.levels(counted))
        out.line(cache.summary(counted))


def _left_behind() -> "wire.CacheStats":
    import msgspec

    from llmctl import wire

    try:
        return msgspec.json.decode(flags.places().cache_stats.read_bytes(), type=wire.CacheStats)
    except (OSError, msgspec.DecodeError):
        return wire.CacheStats(levels=[wire.LevelStats("memory"), wire.LevelStats("disk")])


@app.command("clear")
def clear(
    model: Annotated[str | None, Option("--model", "-m", help="Only the answers of this model.")] = None,
    yes: flags.Yes = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Remove the stored answers, of one model or of all."""
    from llmctl import wire

    flags.confirm(yes, [f"the stored answers of {f'model {model}' if model else 'all models'}"])
    with flags.connect() as client:
        result = client.call(wire.ClearCache(model=model))
    if not isinstance(result, wire.Cleared):
        raise LlmctlError(f"the hub answered with {type(result).__name__}")
    if json:
        out.json_line(result)
    else:
        out.notice(f"{result.entries} stored answers were removed")


@app.command("warm")
def warm(
    file: Annotated[str, typer.Argument(help="JSON lines, each with a prompt; - is stdin.", metavar="FILE")],
    model: Annotated[str | None, Option("--model", "-m", help="For rows that name none.")] = None,
    user: Annotated[str | None, Option(help="For rows that name none.")] = None,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Store answers to the questions of a file, so that whoever asks them waits for none.

    A row is {"prompt": "..."} with any option of `ask` beside it; "text" is an answer that is there already.
    """
    from llmctl.cli import warm as rows

    given = {name: value for name, value in (("model", model), ("user", user)) if value is not None}
    with flags.connect() as client:
        rows.warm(client, file, given)
