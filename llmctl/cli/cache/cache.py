"""`llmctl cache`: statistics of the cache, its entries, and their removal."""

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

from typer import Argument, Option

from llmctl.cli.console import flags, out
from llmctl.errors import Unreachable, counted
from llmctl.regular import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from llmctl import wire

R = TypeVar("R")

app = flags.group("Show, fill and clear the stored answers.")


@app.command("stats")
def stats(json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Show hits and sizes of each cache level.

    Without a running hub, prints the numbers that the last hub saved.
    """
    from llmctl import wire
    from llmctl.cli.console.show import show
    from llmctl.view import cache

    found = flags.ask_running_hub(wire.GetCacheStats())
    counted = flags.expected(found or _last_stats(), wire.CacheStats)
    if json:
        for level in counted.levels:
            out.json_line(level)
        if counted.prefetch is not None:
            out.json_line(counted.prefetch)
        out.json_line(cache.total(counted))
    else:
        show(cache.levels(counted))
        if counted.prefetch is not None:
            out.line(cache.prefetch(counted.prefetch))
        out.line(cache.summary(counted))


def _last_stats() -> "wire.CacheStats":
    from llmctl import wire

    nothing = wire.CacheStats(levels=[wire.LevelStats("memory"), wire.LevelStats("disk")])
    return _left_behind(flags.paths().cache_stats, nothing)


def _last_audit() -> "wire.CacheAudit":
    from llmctl import wire

    settings = flags.settings().cache.semantic
    nothing = wire.SemanticAudit(
        requests=0, hits=0, hit_rate=0.0, wrong_rate=None, wrong_rate_upper=None, max_error=settings.max_error, pairs=0,
        judge=settings.judge or "the model that wrote the answer",
    )  # fmt: skip
    return _left_behind(flags.paths().cache_audit, wire.CacheAudit(semantic=nothing))


def _left_behind(file: "Path", nothing: R) -> R:
    """What the last hub wrote to `file`, a message of the type of `nothing`; else `nothing`."""

    try:
        return read_json(file, type(nothing))
    except (OSError, ValueError):
        return nothing


Model = Annotated[str | None, Option("--model", "-m", metavar="NAME", help="Only answers of this model.")]
User = Annotated[str | None, Option("--user", metavar="NAME", help="Only answers computed for this user.")]
Tags = Annotated[
    list[str] | None, Option("--tag", metavar="T", help="Only answers with this tag. Repeatable: with all of the tags.")
]
Older = Annotated[str | None, Option("--older", metavar="T", help="Only answers at least this old: 90s, 15m, 2h, 7d.")]
Newer = Annotated[str | None, Option("--newer", metavar="T", help="Only answers at most this old.")]


class Selection(NamedTuple):
    """The entries that the options above select."""

    model: str | None
    user: str | None
    tags: list[str] | None
    older: str | None
    newer: str | None

    def fields(self) -> dict[str, Any]:
        """As fields of a request; only those that were given. Raises Usage."""
        given: dict[str, Any] = {name: value for name, value in self._asdict().items() if value}
        for name in given.keys() & {"older", "newer"}:
            given[name] = flags.duration(f"--{name}", given[name])
        return given

    def words(self) -> str:
        parts = [
            f"of {f'model {self.model}' if self.model else 'all models'}",
            *([f"of user {self.user}"] if self.user else []),
            *(f"tagged {tag}" for tag in self.tags or []),
            *([f"at least {self.older} old"] if self.older else []),
            *([f"at most {self.newer} old"] if self.newer else []),
        ]
        return "the stored answers " + ", ".join(parts)


@app.command("ls")
def ls(
    model: Model = None,
    user: User = None,
    tag: Tags = None,
    older: Older = None,
    newer: Newer = None,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """List the stored answers of all users of this hub, oldest first."""
    from llmctl import wire
    from llmctl.cli.console.show import show
    from llmctl.view import cache

    which = Selection(model, user, tag, older, newer).fields()
    found: list[wire.CacheEntry] = []
    while True:
        after = found[-1].number if found else 0
        page = _look(wire.ListCache(after=after, **which), wire.CacheEntries)
        found += page.entries
        if json:
            for entry in page.entries:
                out.json_line(entry)
        if not page.entries:
            break
    if not json:
        show(cache.entries(found))


@app.command("show")
def show_one(
    key: Annotated[
        str,
        Argument(
            help="Key of an answer, as `cache ls` and `ask --json` print it, or its first characters.", metavar="KEY"
        ),
    ],
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Show one stored answer and its details."""
    from llmctl import wire
    from llmctl.cli.console.show import show
    from llmctl.view import cache
    from llmctl.view.printable import printable

    found = _look(wire.ShowCache(key=key), wire.CacheShown)
    if json:
        out.json_line(cache.shown(found))
    else:
        show(cache.one(found))
        out.line(f"\n{printable(found.text)}")


def _look(request: "wire.Request", kind: "type[R]") -> "R":
    """The hub's result. Raises Unreachable if no hub is running: only a hub reads the cache."""
    found = flags.ask_running_hub(request)
    if found is None:
        raise Unreachable(
            "the hub is not running; only a running hub can read the cache", "`llmctl daemon start` starts it."
        )
    return flags.expected(found, kind)


@app.command("audit")
def audit(json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Show how often the semantic cache answered, and how often wrongly.

    Without a running hub, prints the numbers that the last hub saved.
    """
    from llmctl import wire
    from llmctl.view import cache

    found = flags.expected(flags.ask_running_hub(wire.AuditCache()) or _last_audit(), wire.CacheAudit)
    if json:
        out.json_line(found)
    else:
        out.text("".join(f"{line}\n" for line in cache.audit(found.semantic)))


@app.command("undo")
def undo(
    id: Annotated[
        str | None,
        Argument(
            metavar="[ID]",
            help="Id of the request that got the answer, or its first characters. Default: the last one.",
        ),
    ] = None,
    user: Annotated[
        str | None, Option(help="User whose last such request is meant. Default: the OS user.", metavar="NAME")
    ] = None,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Reject an answer that the semantic cache served.

    The answer is not served to similar questions again, and later decisions learn from the mistake. Prints every request
    that got it. The answer stays stored for its own question.
    """
    from llmctl import wire
    from llmctl.cli.console.show import show
    from llmctl.request import user_label
    from llmctl.view import cache

    found = flags.call(wire.UndoHit(id=id, user=user_label(user, flags.settings())), wire.HitUndone)
    if json:
        for served in found.served:
            out.json_line(served)
        return
    out.notice(cache.undone(found))
    show(cache.served(found.served))


@app.command("clear")
def clear(
    model: Model = None,
    user: User = None,
    tag: Tags = None,
    older: Older = None,
    newer: Newer = None,
    yes: flags.Yes = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Remove stored answers: all, or a selection.

    On a shared server this includes the answers of other hubs.
    """
    from llmctl import wire

    selection = Selection(model, user, tag, older, newer)
    request = wire.ClearCache(**selection.fields())
    flags.confirm(yes, [selection.words()])
    result = flags.call(request, wire.Cleared)
    if json:
        out.json_line(result)
    else:
        out.notice(f"removed {counted(result.entries, 'stored answer')}")


@app.command("warm")
def warm(
    file: Annotated[str, Argument(help="File of JSON lines, one prompt each; - is stdin.", metavar="FILE")],
    model: Annotated[
        str | None, Option("--model", "-m", metavar="NAME", help="Model for lines that name none.")
    ] = None,
    user: Annotated[str | None, Option(metavar="NAME", help="User for lines that name none.")] = None,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Compute and store the answers to a file of questions.

    A line is {"prompt": "..."}, with any option of `ask`. With "text", that answer is stored instead of a computed one.
    """
    from llmctl.cli.cache import warm as rows

    given = {name: value for name, value in (("model", model), ("user", user)) if value is not None}
    with flags.connect() as client:
        rows.warm(client, file, given)


@app.command("replay")
def replay(
    trace: Annotated[
        str | None, Argument(help="File of JSON lines, one request each; - is stdin.", metavar="TRACE")
    ] = None,
    history: Annotated[
        bool, Option("--history", help="Replay the requests in the hub's history instead of a trace.")
    ] = False,
    size: Annotated[
        str | None, Option("--bytes", help="Size of the cache, as 64M. Default: cache.memory_bytes.", metavar="SIZE")
    ] = None,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Compare eviction policies on a trace or on your own requests.

    Prints the hits and the time that each policy would have saved. Does not need a hub.
    """
    from llmctl.cli.cache import replay as playing
    from llmctl.config import parse_size
    from llmctl.errors import Usage

    if (trace is None) == (not history):
        raise Usage("give either a TRACE or --history", "`llmctl cache replay --history` replays your own requests.")
    try:
        limit = None if size is None else int(parse_size(size))
    except ValueError as error:
        raise Usage(f"--bytes: {error}") from error
    playing.replay(trace, limit)
