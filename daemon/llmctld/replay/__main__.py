"""`python -m llmctld.replay [--bytes N] TRACE|-|--history`: what each policy would have saved; prints a line of JSON for each.

Reads a trace or the history, and changes nothing.
"""

import argparse
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from llmctl.config import Config, load
from llmctl.errors import InvalidRequest, LlmctlError, Storage
from llmctl.paths import Paths, find_paths
from llmctl.wire import TokenUsage
from llmctl.written import lines_of, opened
from llmctld.cache.entries.context import groups_of
from llmctld.cache.eviction import POLICIES
from llmctld.models.catalogue.catalog import Catalog
from llmctld.money.pricing.amounts import UNIT
from llmctld.money.pricing.price_list import PriceList
from llmctld.money.pricing.prices import Price, Use
from llmctld.replay.trace import TraceRequest, play, read
from llmctld.runtime.lines import say

LINE_BYTES = 2**24
"""Size of a line of a trace, at most."""
ENTRY_BYTES = 150
"""Bytes of an entry besides its texts."""

_ROWS = """SELECT key, at, model, user, conversation, hit, length(CAST(coalesce(text, '') AS BLOB)) +
    length(CAST(coalesce(reasoning, '') AS BLOB)), coalesce(prefill_ms, 0) + coalesce(decode_ms, 0),
    coalesce(prompt_tokens, 0), coalesce(completion_tokens, 0)
    FROM requests WHERE state = 'done' AND key IS NOT NULL AND sample = 0 ORDER BY number"""


class HistoryRow(NamedTuple):
    """A row of the history. `text_bytes`: of the answer. `ms`: of computing it; 0 for a hit."""

    key: str
    at: float
    model: str
    user: str
    conversation: str | None
    hit: str | None
    text_bytes: int
    ms: float
    prompt_tokens: int
    completion_tokens: int


def main() -> int:
    """Returns 0, or the status of the error, which is then the only line."""
    parser = argparse.ArgumentParser(prog="llmctld.replay")
    parser.add_argument("--bytes", type=int, default=None)
    parser.add_argument("--history", action="store_true")
    parser.add_argument("trace", nargs="?")
    options = parser.parse_args()
    try:
        paths = find_paths()
        config = load(paths.config_file)
        limit = config.cache.memory_bytes if options.bytes is None else options.bytes
        requests = from_history(paths, config) if options.history else from_file(options.trace)
        say({"requests": len(requests), "keys": len({request.key for request in requests}), "bytes": limit})
        for policy in POLICIES:
            say(play(requests, policy, limit)._asdict())
    except LlmctlError as error:
        say({"error": error.fields()})
        return error.status
    return 0


def from_file(name: str) -> list[TraceRequest]:
    """`-` is stdin. Raises NotFound, InvalidRequest."""
    if name == "-":
        return read(lines_of(sys.stdin.buffer, "stdin", LINE_BYTES), "stdin")
    with opened(
        name, 'TRACE is a file of JSON lines such as {"key": "a", "bytes": 900, "seconds": 2.5}, or - for stdin.'
    ) as file:
        return read(lines_of(file, name, LINE_BYTES), name)


def from_history(paths: Paths, config: Config) -> list[TraceRequest]:
    """The requests of this hub that a cache could have answered. Raises InvalidRequest if there are none."""
    rows = list(_rows(paths.history))
    if not rows:
        raise InvalidRequest("the history contains no request that a cache could have answered", "Ask something first.")
    computed = [row for row in rows if row.ms > 0]
    usual = sum(row.ms for row in computed) / len(computed) if computed else 0.0
    last = dict[str, HistoryRow]()
    for row in reversed(computed):
        last[row.key] = row  # the first computation
    prices = _prices(paths, config)
    return [_request(row, first := last.get(row.key, row), usual, prices.get(first.model)) for row in rows]


def _request(row: HistoryRow, computed: HistoryRow, usual_ms: float, price: Price | None) -> TraceRequest:
    """A hit is counted with the cost of computing that answer at another time; if unknown, with the usual cost."""
    seconds = (computed.ms or usual_ms) / 1e3
    use = Use(TokenUsage(computed.prompt_tokens, 0, computed.completion_tokens), seconds)
    cost = None if price is None else price.parts(use).total
    groups = groups_of(row.user, row.conversation, None)
    return TraceRequest(
        row.key, computed.text_bytes + ENTRY_BYTES, seconds, None if cost is None else cost / UNIT, row.at, groups
    )


def _rows(path: Path) -> Iterator[HistoryRow]:
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as connection:
            for values in connection.execute(_ROWS):
                yield HistoryRow(*values)
    except sqlite3.Error as error:
        raise Storage(f"{path} cannot be read: {error}", "`llmctl daemon doctor` checks it.") from error


def _prices(paths: Paths, config: Config) -> dict[str, Price]:
    """Name of a model -> its prices."""
    catalog = Catalog(paths.models, config.models)
    prices = PriceList(catalog, config.money)
    return {entry.name: prices.of(entry) for entry in catalog.all()}


if __name__ == "__main__":
    sys.exit(main())
