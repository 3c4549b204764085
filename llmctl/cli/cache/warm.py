"""`llmctl cache warm`: stores answers to the questions in a file of JSON lines, computed or given in the file.

It reads the rows and reports each result; the hub decides under which key an answer is stored.
"""

import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from llmctl import wire, written
from llmctl.cli.console import flags, out, signals, stdin
from llmctl.client import Client, wait
from llmctl.errors import Cancelled, InvalidRequest, LlmctlError, Unreachable, Usage, counted, from_code, nearest, short
from llmctl.link import Exchange
from llmctl.named_files import Origin
from llmctl.options import Asked
from llmctl.paths import absolute

AT_ONCE = 8
"""Rows sent to the hub at the same time: more than most models have slots."""
REFUSED = {
    "continue": "the answer would depend on the earlier turns of a conversation",
    "conversation": "the answer would depend on the earlier turns of a conversation",
    "no_cache": "`cache warm` stores every answer",
    "cache_only": "`cache warm` stores every answer",
}
"""Options of `ask` that a row cannot have -> why."""
ASKED = {field.encode_name for field in msgspec.structs.fields(Asked)}
EXAMPLE = '{"prompt": "why?"}'
OWN = ("id", "text")
WORDS = {"generated": "generated", "given": "given", "stored": "already stored"}


class Row(NamedTuple):
    """A line of the file: the request to send, or the error if it is not valid."""

    number: int
    id: str | None
    sent: wire.Warm | None
    error: LlmctlError | None


class RowReport(msgspec.Struct):
    """A line of `--json`."""

    line: int
    id: str | None
    outcome: str | None = None
    key: str | None = None
    model: str | None = None
    seconds: float | None = None
    error: dict[str, str] | None = None


def warm(client: Client, file: str, defaults: dict[str, Any]) -> None:
    """Sends each row and reports its result. Raises the first failed row's error after all rows are done."""
    outcomes: Counter[str] = Counter()
    bad: list[tuple[int, LlmctlError]] = []
    lines = enumerate(written.unmarked(_lines(file)), 1)
    origin = (
        Origin(f"a line of {file}", Path(os.path.realpath(absolute(file))).parent)
        if file != "-"
        else Origin("a line of stdin", None)
    )
    rows = (_row(client, number, line, defaults, origin) for number, line in lines if line.strip())
    try:
        with closing(_results(client, rows)) as results:
            for done, error in results:
                outcomes[done.outcome or "failed"] += 1
                if error is not None and not bad:
                    bad.append((done.line, error))
                _tell(done, error)
                out.progress(f"{counted(outcomes.total(), 'line')} ({summary(outcomes)})")
    except signals.Interrupt:
        out.progress("")
        out.notice("interrupted: the stored answers are kept; run the same command again to resume")
        raise
    finally:
        out.progress("")
        if outcomes or not sys.exc_info()[0]:
            out.notice(f"{counted(outcomes.total(), 'line')}: {summary(outcomes)}")
    for number, error in bad:
        raise _named(number, error, outcomes)


def summary(outcomes: "Counter[str]") -> str:
    parts = [f"{outcomes[name]} {words}" for name, words in WORDS.items() if outcomes[name]]
    return ", ".join([*parts, *([f"{outcomes['failed']} failed"] if outcomes["failed"] else [])]) or "nothing to do"


def _tell(done: RowReport, error: LlmctlError | None) -> None:
    if out.Mode.json:
        out.json_line(done)
    elif error is not None:
        out.progress("")
        out.notice(f"line {done.line}: {error.message}")


def _named(line: int, error: LlmctlError, outcomes: "Counter[str]") -> LlmctlError:
    """The first failed row's error with its line number; the other results have been reported."""
    bad = f" ({outcomes['failed']} of {outcomes.total()} lines failed)" if outcomes["failed"] > 1 else ""
    return from_code(error.code, f"line {line}: {error.message}{bad}", error.hint)


# ---- the rows -------------------------------------------------------------------------------------------------------


def _lines(file: str) -> Iterator[bytes]:
    if file == "-":
        if sys.stdin is None:
            raise Usage("FILE is -, but stdin is closed", "Pipe the lines in, or name a file.")
        yield from stdin.lines()
        return
    with written.opened(file, "Name a file of JSON lines, or - for stdin.") as rows:
        yield from written.lines_of(rows, file, wire.MAX_BODY_BYTES)


def _row(client: Client, number: int, line: bytes, defaults: dict[str, Any], origin: Origin) -> Row:
    id: str | None = None
    try:
        values = _values(line)
        id = None if values.get("id") is None else str(values["id"])
        text = values.pop("text", None)
        if text is not None and not isinstance(text, str):
            raise InvalidRequest(f"text is {short(str(text))}, not a string", "`text` is the answer to store.")
        values.pop("id", None)
        asked = _asked(defaults | values)
        return Row(number, id, wire.Warm(request=client.pack(asked, origin=origin), text=text), None)
    except LlmctlError as error:
        return Row(number, id, None, error)


def _values(line: bytes) -> dict[str, Any]:
    """The row as a dict, with underscores in its keys. Raises InvalidRequest."""
    return {key.replace("-", "_"): value for key, value in written.object_of(line, EXAMPLE).items()}


def _asked(values: dict[str, Any]) -> Asked:
    for name, why in REFUSED.items():
        if values.get(name):
            raise InvalidRequest(f"{name}: {why}", f"Omit `{name}`.")
    for name in values:
        if name not in ASKED:
            raise InvalidRequest(f"{name}: `ask` has no such option", nearest(name, [*ASKED, *OWN]))
    if all(values.get(name) is None for name in ("prompt", "template", "file", "tokens")):
        raise InvalidRequest("there is no prompt", f"A line looks like {EXAMPLE}")
    asked = written.fitted(values, Asked)
    asked.priority = asked.priority or "batch"
    return asked


# ---- the hub --------------------------------------------------------------------------------------------------------


def _results(client: Client, rows: Iterable[Row]) -> Generator[tuple[RowReport, LlmctlError | None], None, None]:
    """The result of each row, in order; closing the generator cancels the rows still running."""
    notify = cache(out.notice)  # once: every request gets the notice that the model is being loaded
    under_way: deque[tuple[Row, Exchange | None]] = deque()
    try:
        for row in rows:
            under_way.append((row, None if row.sent is None else client.begin(row.sent)))
            if len(under_way) == AT_ONCE:
                yield _result(*under_way.popleft(), notify)
        while under_way:
            yield _result(*under_way.popleft(), notify)
    finally:
        for _, exchange in under_way:
            if exchange is not None:
                exchange.cancel()


def _result(row: Row, exchange: Exchange | None, notify: Callable[[str], None]) -> tuple[RowReport, LlmctlError | None]:
    done, error = RowReport(row.number, row.id), row.error
    if exchange is not None:
        try:
            found = flags.expected(wait(exchange, notify), wire.Warmed)
            done.outcome, done.key, done.model, done.seconds = found.outcome, found.key, found.model, found.seconds
        except (Unreachable, Cancelled):
            raise  # the hub is ending: later rows would fail too
        except LlmctlError as failure:
            error = failure
    if error is not None:
        done.error = error.fields()
    return done, error
