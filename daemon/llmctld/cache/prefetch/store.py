"""The stored state of prefetch in prefetch.db: requests that may be repeated, sequences, and the payoff.

Does not interpret requests. A request is stored as long as its answer: until `until`, Unix time.
"""

import sqlite3
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from llmctld.cache.entries.selection import EntryFilter
from llmctld.cache.level import SKEW_S
from llmctld.cache.prefetch.payoff import Payoff
from llmctld.cache.prefetch.sequences import Followers, Place, Sequences
from llmctld.storage.loss import LossRule
from llmctld.storage.store import Store

REQUESTS = 10_000
"""Requests stored: those made last."""


def _m001_prefetch(connection: sqlite3.Connection) -> None:
    connection.execute(
        """CREATE TABLE requests (key TEXT PRIMARY KEY, person TEXT NOT NULL, model TEXT NOT NULL, tags TEXT NOT NULL,
        created REAL NOT NULL, asked REAL NOT NULL, until REAL NOT NULL, body BLOB NOT NULL)"""
    )
    connection.execute("CREATE INDEX age ON requests (asked)")
    connection.execute("CREATE TABLE followers (grp TEXT, key TEXT, row BLOB NOT NULL, PRIMARY KEY (grp, key))")
    connection.execute("CREATE TABLE state (name TEXT PRIMARY KEY, value BLOB NOT NULL)")


MIGRATIONS = [_m001_prefetch]

_encode = msgspec.msgpack.Encoder().encode
_row = msgspec.msgpack.Decoder(Followers).decode
_payoff = msgspec.msgpack.Decoder(Payoff).decode
_trust = msgspec.msgpack.Decoder(dict[str, dict[str, list[float]]]).decode


class StoredRequest(NamedTuple):
    """A request to repeat, with the fields that `cache clear` selects by. `created`: when its answer was computed."""

    key: str
    person: str
    model: str
    tags: list[str]
    created: float
    asked: float
    until: float
    body: bytes


class PrefetchStore:
    """Raises Storage and Unreachable if the file cannot be opened."""

    def __init__(self, path: Path) -> None:
        self.news: list[str] = []
        """Notices for the user."""
        self.when_lost: Callable[[], None] = lambda: None
        """Called on the event loop when the file was begun anew: what is known must be written again."""
        rule = LossRule(
            "the file of prefetch", self.news.append, "what it had learned is lost",
            "what was learned is written again, except requests to repeat", lambda: self.when_lost(),
        )  # fmt: skip
        self._store = Store(path, MIGRATIONS, rule=rule)

    def look(self) -> None:
        """Notices that the file is lost (storage/watch.py)."""
        self._store.look()

    async def load(self, now: float) -> tuple[Sequences, Payoff, dict[str, float]]:
        """The stored sequences, payoff, and expiry of each request. Unreadable parts are skipped."""
        future = now + SKEW_S  # the clock was set back: those would be kept for as many years as it was ahead
        await self._store.write("DELETE FROM requests WHERE until <= ? OR asked > ?", (now, future))
        sequences, payoff = Sequences(), Payoff()
        for group, key, blob in await self._store.read("SELECT grp, key, row FROM followers ORDER BY rowid"):
            try:
                sequences.rows[group, key] = _row(blob)
            except msgspec.DecodeError:
                continue
        try:
            state = dict(await self._store.read("SELECT name, value FROM state"))
            if state:
                payoff, sequences.trust = _payoff(state["ledger"]), _trust(state["trust"])
        except (msgspec.DecodeError, KeyError):
            payoff, sequences.trust = Payoff(), {}
        kept = dict(await self._store.read("SELECT key, until FROM requests"))
        return sequences, payoff, kept

    async def body(self, key: str) -> bytes | None:
        found = await self._store.read("SELECT body FROM requests WHERE key = ?", (key,))
        return found[0][0] if found else None

    async def save(
        self,
        requests: Iterable[StoredRequest],
        rows: Mapping[Place, Followers | None],
        payoff: Payoff,
        trust: Mapping[str, Mapping[str, list[float]]],
    ) -> None:
        """Writes everything in one transaction. A row that is None is deleted. Raises Storage."""
        asked = [(it.key, it.person, it.model, msgspec.json.encode(it.tags).decode(), *it[4:]) for it in requests]
        written = [(*place, _encode(row)) for place, row in rows.items() if row is not None]
        gone = [place for place, row in rows.items() if row is None]
        state = [("ledger", _encode(payoff)), ("trust", _encode(trust))]

        def write(connection: sqlite3.Connection) -> None:
            connection.executemany("INSERT OR REPLACE INTO requests VALUES (?, ?, ?, ?, ?, ?, ?, ?)", asked)
            connection.executemany("INSERT OR REPLACE INTO followers VALUES (?, ?, ?)", written)
            connection.executemany("DELETE FROM followers WHERE grp = ? AND key = ?", gone)
            connection.executemany("INSERT OR REPLACE INTO state VALUES (?, ?)", state)
            if asked:
                connection.execute("DELETE FROM requests WHERE until <= ?", (min(it[5] for it in asked),))
                connection.execute(
                    "DELETE FROM requests WHERE key IN (SELECT key FROM requests ORDER BY asked DESC LIMIT -1 OFFSET ?)",
                    (REQUESTS,),
                )

        await self._store.submit(write)

    async def select(self, selection: EntryFilter, now: float) -> set[str]:
        """Keys of requests whose answers `selection` selects. One that was recomputed meanwhile is included."""
        rows = await self._store.search(
            "SELECT key, tags FROM requests WHERE (?1 IS NULL OR person = ?1) AND (?2 IS NULL OR model = ?2) "
            "AND (?3 IS NULL OR created <= ?3) AND (?4 IS NULL OR asked >= ?4)",
            (
                selection.user,
                selection.model,
                *(None if age is None else now - age for age in (selection.older, selection.newer)),
            ),
        )
        return {key for key, tags in rows if set(selection.tags) <= set(msgspec.json.decode(tags))}

    async def remove(self, keys: set[str]) -> None:
        await self._store.submit(
            lambda connection: connection.executemany("DELETE FROM requests WHERE key = ?", [(key,) for key in keys])
        )

    def close(self) -> None:
        self._store.close()
