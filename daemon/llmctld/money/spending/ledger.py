"""ledger.db: a row for each amount that was reserved, closed exactly once with what was spent; and sums of it by scope and time.

It decides nothing (accounts.py does). Amounts are whole units of 1e-12 (amounts.py).
"""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from llmctld.money.spending.scopes import Scope
from llmctld.storage.loss import LossRule
from llmctld.storage.store import Store

QUARTER_S = 900
"""Sums are kept by quarter of an hour: each day of each time zone is a whole number of them."""
LARGEST = 2**63 - 1
"""What a column of SQLite holds."""
RECOVERED, OVER = "recovered", "over"
"""Marks: the hub was killed before it could settle; an endpoint counted more than was reserved."""


def _m001_charges(connection: sqlite3.Connection) -> None:
    connection.execute(
        """CREATE TABLE charges (
            number INTEGER PRIMARY KEY, request TEXT NOT NULL, at REAL NOT NULL, payer TEXT NOT NULL, model TEXT NOT NULL,
            tags TEXT NOT NULL, purpose TEXT NOT NULL, run TEXT, scopes TEXT NOT NULL, currency TEXT NOT NULL,
            reserved INTEGER NOT NULL, journaled INTEGER, settled INTEGER, ended REAL, mark TEXT NOT NULL DEFAULT '',
            tokens INTEGER, machine INTEGER, overhead INTEGER,
            prompt_tokens INTEGER, cached_tokens INTEGER, completion_tokens INTEGER)"""
    )
    connection.execute("CREATE INDEX open_charges ON charges (number) WHERE settled IS NULL")
    connection.execute("CREATE INDEX charges_by_time ON charges (at)")
    connection.execute(
        """CREATE TABLE spent (scope TEXT NOT NULL, quarter INTEGER NOT NULL, units INTEGER NOT NULL,
            PRIMARY KEY (scope, quarter)) WITHOUT ROWID"""
    )


MIGRATIONS = [_m001_charges]


class Charge(NamedTuple):
    """What is to be paid for. `scopes`: everybody whose budget it counts for."""

    request: str
    payer: str
    model: str
    tags: Sequence[str]
    purpose: str
    run: str | None
    scopes: Sequence[Scope]


class OpenRow(NamedTuple):
    """A charge that is under way."""

    number: int
    charge: Charge
    at: float
    reserved: int


Sums = Mapping[Scope, Mapping[int, int]]
"""By scope and quarter."""


class Settlement(NamedTuple):
    """What was spent, and of what it consists."""

    units: int
    tokens: int | None = None
    machine: int | None = None
    overhead: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    mark: str = ""


class Balance(NamedTuple):
    """What `verify` found. `wrong`: sentences."""

    charges: int
    open: int
    reserved: int
    settled: int
    over: int
    recovered: int
    wrong: list[str]


def quarter(at: float) -> int:
    return int(at // QUARTER_S)


class Ledger:
    """The file. Every method that writes may raise Storage, now or from its future."""

    def __init__(self, path: Path, durable: bool, rule: LossRule | None = None) -> None:
        self._store = Store(path, MIGRATIONS, durable, rule)
        self._next = 1

    async def open(self, since: float) -> dict[Scope, dict[int, int]]:
        """Must be awaited first. Settles what a killed hub left open, with what was journaled; returns the sums by scope and
        quarter since a moment."""
        ((last,),) = await self._store.read("SELECT coalesce(max(number), 0) FROM charges")
        self._next = last + 1
        await self._store.submit(_recover)
        rows = await self._store.read("SELECT scope, quarter, units FROM spent WHERE quarter >= ?", (quarter(since),))
        sums: dict[Scope, dict[int, int]] = {}
        for scope, at, units in rows:
            sums.setdefault(_scope(scope), {})[at] = units
        return sums

    def look(self) -> None:
        """Notices that the file is lost (storage/watch.py)."""
        self._store.look()

    def close(self) -> None:
        self._store.close()

    def next_number(self) -> int:
        """The number of a new row."""
        number, self._next = self._next, self._next + 1
        return number

    def reserve(self, number: int, charge: Charge, at: float, units: int, currency: str) -> "asyncio.Future[int]":
        """Opens the row."""
        return self._store.write(_INSERT, _opened(number, charge, at, units, currency))

    def reserve_more(self, number: int, units: int) -> "asyncio.Future[int]":
        return self._store.write(
            "UPDATE charges SET reserved = reserved + ? WHERE number = ? AND settled IS NULL", (units, number)
        )

    def journal(self, number: int, units: int) -> "asyncio.Future[int]":
        """What was spent so far, for the case that the hub is killed."""
        return self._store.write(
            "UPDATE charges SET journaled = ? WHERE number = ? AND settled IS NULL", (units, number)
        )

    def hand_over(self, number: int, charge: Charge) -> "asyncio.Future[int]":
        """From now on others pay."""
        return self._store.write(
            "UPDATE charges SET payer = ?, tags = ?, scopes = ?, request = ? WHERE number = ? AND settled IS NULL",
            (charge.payer, json.dumps(list(charge.tags)), _written(charge.scopes), charge.request, number),
        )

    def settle(self, number: int, ended: float, spent: Settlement) -> "asyncio.Future[bool]":
        """Closes the row. False: it was closed before, and nothing was charged."""
        return self._store.submit(lambda connection: _settle(connection, number, ended, spent))

    async def verify(self) -> Balance:
        """Checks every row and every sum against each other, from one state of the file."""
        return await self._store.query(_verify)

    async def rows(self, where: str = "1", values: Sequence[Any] = (), last: int = -1) -> list[tuple[Any, ...]]:
        """The rows of a selection, oldest first; with `last`, only so many of the newest."""
        found = await self._store.search(f"{_SELECT} WHERE {where} ORDER BY number DESC LIMIT ?", (*values, last))
        return found[::-1]

    async def rebuild(self, sums: Callable[[], Sums], under_way: Callable[[], list[OpenRow]], currency: str) -> None:
        """Begins a new file with what memory knows: the sums, and what is under way. The old one is set aside."""
        await self._store.begin_anew("was set aside by `budget ledger --rebuild`")
        await self.refill(sums(), under_way(), currency)  # as they are now: settlements before this found no row

    async def refill(self, sums: Sums, under_way: Sequence[OpenRow], currency: str) -> None:
        """Replaces everything in the file."""
        kept = [
            (_written([scope]), at, units) for scope, by_time in sums.items() for at, units in by_time.items() if units
        ]
        rows = [_opened(row.number, row.charge, row.at, row.reserved, currency) for row in under_way]
        await self._store.submit(lambda connection: _refill(connection, kept, rows))


_INSERT = (
    "INSERT INTO charges (number, request, at, payer, model, tags, purpose, run, scopes, currency, reserved) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_SELECT = """SELECT number, request, at, payer, model, tags, purpose, run, currency, reserved, settled, ended, mark, tokens,
    machine, overhead, prompt_tokens, cached_tokens, completion_tokens FROM charges"""


def _opened(number: int, charge: Charge, at: float, units: int, currency: str) -> tuple[Any, ...]:
    return (
        number, charge.request, at, charge.payer, charge.model, json.dumps(list(charge.tags)), charge.purpose,
        charge.run, _written(charge.scopes), currency, min(units, LARGEST),
    )  # fmt: skip


def _written(scopes: Sequence[Scope]) -> str:
    return json.dumps([list(scope) for scope in scopes])


def _scope(written: str) -> Scope:
    ((kind, name),) = json.loads(written)
    return Scope(kind, name)


def _settle(connection: sqlite3.Connection, number: int, ended: float, spent: Settlement) -> bool:
    changed = connection.execute(
        "UPDATE charges SET settled = ?, tokens = ?, machine = ?, overhead = ?, prompt_tokens = ?, cached_tokens = ?, "
        "completion_tokens = ?, mark = ?, ended = ? WHERE number = ? AND settled IS NULL",
        (*spent, ended, number),
    ).rowcount
    if changed:
        ((at, scopes),) = connection.execute("SELECT at, scopes FROM charges WHERE number = ?", (number,))
        _add(connection, at, json.loads(scopes), spent.units)
    return bool(changed)


def _add(connection: sqlite3.Connection, at: float, scopes: list[list[str]], units: int) -> None:
    if units:
        connection.executemany(
            "INSERT INTO spent VALUES (?, ?, ?) ON CONFLICT (scope, quarter) DO UPDATE SET units = units + excluded.units",
            [(json.dumps([scope]), quarter(at), units) for scope in scopes],
        )


def _recover(connection: sqlite3.Connection) -> None:
    """What a killed hub left open costs what was journaled: it was generated, and perhaps read."""
    rows = connection.execute(
        "SELECT number, at, scopes, coalesce(journaled, 0) FROM charges WHERE settled IS NULL"
    ).fetchall()
    for number, at, scopes, units in rows:
        connection.execute(
            "UPDATE charges SET settled = ?, ended = at, mark = ? WHERE number = ?", (units, RECOVERED, number)
        )
        _add(connection, at, json.loads(scopes), units)


def _refill(connection: sqlite3.Connection, kept: list[tuple[str, int, int]], rows: list[tuple[Any, ...]]) -> None:
    connection.execute("DELETE FROM charges")
    connection.execute("DELETE FROM spent")
    connection.executemany("INSERT INTO spent VALUES (?, ?, ?)", kept)
    connection.execute("DROP TABLE IF EXISTS carried")
    connection.execute("CREATE TABLE carried AS SELECT * FROM spent")
    connection.executemany(_INSERT, rows)


def _verify(connection: sqlite3.Connection) -> Balance:
    sums: dict[tuple[str, int], int] = {}
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'carried'").fetchone():
        sums = {
            (scope, at): units for scope, at, units in connection.execute("SELECT scope, quarter, units FROM carried")
        }
    wrong: list[str] = []
    counts = dict.fromkeys(("charges", "open", "reserved", "settled", OVER, RECOVERED), 0)
    for number, at, scopes, reserved, settled, mark, parts in connection.execute(
        "SELECT number, at, scopes, reserved, settled, mark, coalesce(tokens, 0) + coalesce(machine, 0) + coalesce(overhead, 0) "
        "FROM charges"
    ):
        counts["charges"] += 1
        if settled is None:
            counts["open"] += 1
            counts["reserved"] += reserved
            continue
        counts["settled"] += settled
        if mark:
            counts[mark] += 1
        if settled > reserved and mark != OVER:
            wrong.append(f"charge {number}: {settled} was settled of {reserved} reserved")
        if mark != RECOVERED and settled != parts:
            wrong.append(f"charge {number}: {settled} was settled, and its parts are {parts}")
        for scope in json.loads(scopes):
            key = (json.dumps([scope]), quarter(at))
            sums[key] = sums.get(key, 0) + settled
    kept = {(scope, at): units for scope, at, units in connection.execute("SELECT scope, quarter, units FROM spent")}
    for key in sorted(sums.keys() | kept.keys()):
        if sums.get(key, 0) != kept.get(key, 0):
            scope, at = key
            wrong.append(
                f"{_scope(scope)}, quarter {at}: {kept.get(key, 0)} is kept, and its charges are {sums.get(key, 0)}"
            )
    return Balance(**counts, wrong=wrong)
