"""history.db: one row per request, from its arrival to its end; conversations are read from it.

A row is written on arrival, updated while text is generated, and closed with the outcome, so a crash loses at most the last
second of text.
"""

import asyncio
import itertools
import sqlite3
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from llmctl.errors import Storage
from llmctld.runtime.log import log
from llmctld.storage.loss import LossRule
from llmctld.storage.store import IN_MEMORY, Store


def _m001_requests(connection: sqlite3.Connection) -> None:
    connection.execute(
        """CREATE TABLE requests (
            number INTEGER PRIMARY KEY, id TEXT NOT NULL, at REAL NOT NULL, ended REAL, user TEXT NOT NULL,
            tags TEXT NOT NULL DEFAULT '[]', model TEXT, conversation TEXT, state TEXT NOT NULL, code TEXT, message TEXT,
            system TEXT, prompt TEXT, text TEXT, reasoning TEXT, finish_reason TEXT, hit TEXT, key TEXT,
            prompt_tokens INTEGER, cached_tokens INTEGER, completion_tokens INTEGER,
            queue_ms REAL, load_ms REAL, prefill_ms REAL, decode_ms REAL, total_ms REAL,
            undone INTEGER NOT NULL DEFAULT 0)"""
    )
    connection.execute("CREATE INDEX turns ON requests (user, conversation, number)")


def _m002_samples(connection: sqlite3.Connection) -> None:
    """Several samples of one request are rows with the same id."""
    connection.execute("ALTER TABLE requests ADD COLUMN sample INTEGER NOT NULL DEFAULT 0")


def _m003_systems(connection: sqlite3.Connection) -> None:
    """`system` holds the system prompt in force; until now it was NULL if inherited from the previous turn."""
    connection.execute(
        """UPDATE requests SET system = (
            SELECT before.system FROM requests AS before
            WHERE before.user = requests.user AND before.conversation = requests.conversation
              AND before.number < requests.number AND before.state = 'done' AND NOT before.undone
              AND before.prompt IS NOT NULL AND before.system IS NOT NULL
            ORDER BY before.number DESC LIMIT 1)
        WHERE system IS NULL AND conversation IS NOT NULL AND prompt IS NOT NULL"""
    )


def _m004_sent(connection: sqlite3.Connection) -> None:
    """`sent`: the part of `prompt` that the model read (`--overflow`); NULL if all of it."""
    connection.execute("ALTER TABLE requests ADD COLUMN sent TEXT")


def _m005_messages(connection: sqlite3.Connection) -> None:
    """`messages`: the whole chat of a request that brought one (`wire.Generate.messages`), as JSON; `prompt` is its last
    question."""
    connection.execute("ALTER TABLE requests ADD COLUMN messages TEXT")


def _m006_origins(connection: sqlite3.Connection) -> None:
    """`purpose`, `run`: what the request was for (call/origin.py); NULL in older rows. `computed_by`: the id of the equal request
    that it joined. `saved_ms`: computing that a stored or joined answer made unnecessary."""
    for column in ("purpose TEXT", "run TEXT", "computed_by TEXT", "saved_ms REAL"):
        connection.execute(f"ALTER TABLE requests ADD COLUMN {column}")


MIGRATIONS = [_m001_requests, _m002_samples, _m003_systems, _m004_sent, _m005_messages, _m006_origins]


MOST_HITS = 1000
"""Most hits of a user that are searched for the last one not taken back."""


class Turn(NamedTuple):
    """One exchange of a conversation: the text sent, and the answer; None if there is none yet."""

    prompt: str
    text: str | None
    system: str
    """The system prompt in force, with its parameters filled; empty: none."""
    model: str
    whole: str | None = None
    """The full question, if only part of it was sent."""


@cache
def _upsert(columns: tuple[str, ...]) -> str:
    changes = ", ".join(f"{name} = excluded.{name}" for name in columns if name != "number")
    places = ", ".join("?" * len(columns))
    return f"INSERT INTO requests ({', '.join(columns)}) VALUES ({places}) ON CONFLICT (number) DO UPDATE SET {changes}"


class History:
    """The rows of one user's hub. `state` is running, done, failed or cancelled."""

    def __init__(self, path: Path, durable: bool = False) -> None:
        """`durable`: a power cut undoes no row that was acknowledged.

        A lost file is begun anew with the rows of the requests that run; a finished one is in the file alone. Where none can be
        opened, rows are kept in memory. Raises Unreachable for a file of a newer version.
        """
        self.news: list[str] = []
        """Notices for the user."""
        self._running: dict[int, Mapping[str, Any]] = {}
        """Number -> the row of a request that runs, as it was written last."""
        self.unkept: str | None = None
        """Why no row outlives this hub; None if they do."""
        rule = LossRule("the history", self.news.append, refill=self._save_running)
        try:
            self._store = Store(path, MIGRATIONS, durable, rule)
        except Storage as error:  # a full disk must not keep the hub from starting: it is needed to make room
            self.unkept = str(error)
            log.error("the history is not recorded", error=self.unkept)
            self._store = Store(IN_MEMORY, MIGRATIONS)
        self._arrivals: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._last: dict[tuple[str, str], asyncio.Future[None]] = {}
        """Conversation -> an event that is set when the last request at it has left."""
        self._numbers = itertools.count(1)

    async def open(self) -> int:
        """Must be awaited first. Closes rows that a killed hub left running; returns their number."""
        ((last,),) = await self._store.read("SELECT coalesce(max(number), 0) FROM requests")
        self._numbers = itertools.count(last + 1)
        return await self._store.write(
            "UPDATE requests SET state = 'failed', code = 'unreachable', ended = ?, "
            "message = 'the hub ended before the answer was finished' WHERE state = 'running'",
            (time.time(),),
        )

    def _save_running(self) -> None:
        """The file was begun anew."""
        for row in list(self._running.values()):
            self.save(row)

    def look(self) -> None:
        """Notices that the file is lost (storage/watch.py)."""
        self._store.look()

    def next_number(self) -> int:
        """The number of a new row, in the order of arrival."""
        return next(self._numbers)

    def close(self) -> None:
        self._store.close()

    def save(self, row: Mapping[str, Any]) -> "asyncio.Future[int]":
        """Writes the given columns of the row `number`, and creates it if needed. The future may raise Storage."""
        if row.get("state") == "running":
            self._running[row["number"]] = row
        else:
            self._running.pop(row["number"], None)
        return self._store.write(_upsert(tuple(row)), tuple(row.values()))

    def save_now(self, row: Mapping[str, Any]) -> "asyncio.Future[int]":
        """Like `save`, but writes at once if no request would wait for it. For a request that has ended."""
        self._running.pop(row["number"], None)
        return self._store.write_now(_upsert(tuple(row)), tuple(row.values()))

    # ---- conversations ----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def lock_conversation(
        self, user: str, conversation: str | None
    ) -> AsyncIterator[tuple[str | None, list[Turn]]]:
        """A conversation (None: this user's last one) and its turns. Others wait for the conversation until the block is left, in
        the order of arrival, however each of them names it. Yields (None, []) if there is no last one."""
        async with self._arrivals.setdefault(user, asyncio.Lock()):
            name = conversation or await self.last_conversation(user)
            if name is not None:
                before, mine = self._last.get((user, name)), asyncio.get_running_loop().create_future()
                self._last[user, name] = mine
        if name is None:
            yield None, []
            return
        try:
            if before is not None:
                await asyncio.wait([before])  # awaiting the event would cancel it together with this request
            yield name, await self.turns(user, name)
        finally:
            if before is None or before.done():
                self._leave(user, name, mine)
            else:
                before.add_done_callback(lambda _: self._leave(user, name, mine))

    def _leave(self, user: str, name: str, mine: "asyncio.Future[None]") -> None:
        mine.set_result(None)
        if self._last[user, name] is mine:
            del self._last[user, name]

    async def turns(self, user: str, conversation: str) -> list[Turn]:
        rows = await self._store.read(
            "SELECT coalesce(sent, prompt), text, coalesce(system, ''), model, CASE WHEN sent IS NOT NULL THEN prompt END "
            "FROM requests WHERE user = ? AND conversation = ? AND state = 'done' AND NOT undone AND prompt IS NOT NULL "
            "ORDER BY number",
            (user, conversation),
        )
        return [Turn(*row) for row in rows]

    async def last_conversation(self, user: str) -> str | None:
        rows = await self._store.read(
            "SELECT conversation FROM requests WHERE user = ? AND state = 'done' AND conversation IS NOT NULL "
            "AND prompt IS NOT NULL ORDER BY number DESC LIMIT 1",
            (user,),
        )
        return rows[0][0] if rows else None

    # ---- requests served from the cache -------------------------------------------------------------------------------

    async def hits(self, kind: str, user: str, beginning: str | None) -> list[tuple[str, str]]:
        """(id, key) of the requests that were served this kind of hit, newest first: those of the user, or those whose id has
        this prefix."""
        where, value = ("user = ?1", user) if beginning is None else ("substr(id, 1, length(?1)) = ?1", beginning)
        return await self._store.search(
            f"SELECT id, key FROM requests WHERE {where} AND hit = ?2 AND key IS NOT NULL ORDER BY number DESC LIMIT ?3",
            (value, kind, MOST_HITS),
        )

    async def served(self, kind: str, key: str) -> list[tuple[str, str, float, str | None]]:
        """(id, user, at, prompt) of each request that was served the answer under `key`, newest first."""
        return await self._store.search(
            "SELECT id, user, at, prompt FROM requests WHERE hit = ? AND key = ? ORDER BY number DESC", (kind, key)
        )

    async def undo(self, user: str, conversation: str | None, look: bool = False) -> Turn | None:
        """Removes the last turn of the conversation (with `look`: only reads it) and returns it; None if there is none."""
        async with self.lock_conversation(user, conversation) as (name, turns):
            if not turns:
                return None
            if look:
                return turns[-1]
            await self._store.write(
                "UPDATE requests SET undone = 1 WHERE number = (SELECT max(number) FROM requests WHERE user = ? AND "
                "conversation = ? AND state = 'done' AND NOT undone AND prompt IS NOT NULL)",
                (user, name),
            )
            return turns[-1]
