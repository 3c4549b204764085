"""The stored questions and the decision, opened by the first question and kept over restarts.

They belong to one embedding model at a time; for another model both start empty. Requests are unknown here.
"""

import asyncio
import hashlib
import secrets
import statistics
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from llmctl.config import Semantic
from llmctl.errors import LlmctlError, Storage
from llmctl.wire import LevelStats, SemanticAudit
from llmctld.cache.levels.tiers import Tiers
from llmctld.models.catalogue.catalog import Catalog
from llmctld.runtime.log import log
from llmctld.semantic.decision.bound import Bound, Decision
from llmctld.semantic.decision.pair import Pair
from llmctld.semantic.entries import Entries
from llmctld.storage.loss import LossRule
from llmctld.storage.state_file import StateFile

CURRENT = "current.json"
WRITTEN = "it is written again"
SAVE_S = 1.0
"""Seconds from a change of the decision until it is written to disk."""
BOUND = "bound"
UNDONE = "undone"


class VectorSpace(msgspec.Struct, frozen=True):
    """The vectors of one embedding model. `name` is that of their folder."""

    name: str
    dimension: int


class Knowledge:
    """`folder` has a folder for each embedding model. `entries` and `bound` are set once `open` has returned."""

    def __init__(self, folder: Path, catalog: Catalog, tiers: Tiers, settings: Semantic) -> None:
        self._folder, self._catalog, self._tiers, self._settings = folder, catalog, tiers, settings
        tiers.when_gone(self.forget)
        tiers.add_news(self)
        tiers.report.add_explanation("semantic", self.show)
        self.entries: Entries
        self.bound: Bound
        self._space: VectorSpace | None = None
        self._turn = asyncio.Lock()
        self._saving: asyncio.Task[None] | None = None
        self._times: deque[float] = deque(maxlen=512)
        self.news: list[str] = []
        """Notices for the user."""
        rule = LossRule("the name of the embedding model", self.news.append, WRITTEN, WRITTEN)
        self._current = StateFile(folder / CURRENT, rule, self._note)
        self.hits = self.misses = self.errors = 0
        self.error: str | None = None
        """The last failure, until something works again."""

    @property
    def is_open(self) -> bool:
        return self._space is not None

    async def open(self, model: str, dimension: int) -> None:
        """Opens the folder of an embedding model. Raises Storage."""
        space = VectorSpace(self._name_of(model), dimension)
        if space != self._space:
            await self._enter(space)
            await asyncio.to_thread(self._current.write, msgspec.json.encode(space))

    async def reopen(self) -> bool:
        """Opens what the last hub used; False if there is nothing. Raises Storage."""
        if self._space is None:
            try:
                space = msgspec.json.decode(
                    await asyncio.to_thread((self._folder / CURRENT).read_bytes), type=VectorSpace
                )
            except (FileNotFoundError, msgspec.DecodeError):
                return False
            except OSError as error:
                raise Storage(f"the stored questions cannot be read: {error}") from error
            await self._enter(space)
        return True

    def look(self) -> None:
        """Notices that files are lost (storage/watch.py)."""
        if self.is_open:
            self.entries.look()
            self._current.look()

    def _note(self) -> bytes | None:
        return None if self._space is None else msgspec.json.encode(self._space)

    async def _enter(self, space: "VectorSpace") -> None:
        async with self._turn:
            if space == self._space:
                return
            await self._close()
            entries = Entries(self._folder / space.name, space.dimension, self.news)
            await entries.open()
            stored = await self._tiers.keys()
            if stored is not None:  # answers removed while this was closed, or lost in a crash
                await entries.remove([key for key in await entries.keys() if key not in stored])
            self.bound = Bound(self._settings.max_error, state=await entries.kept(BOUND), seed=secrets.randbits(32))
            self.entries, self._space = entries, space
            entries.when_lost = self._changed  # what was learned is in memory

    def _name_of(self, model: str) -> str:
        """A name for the model's file and settings: vectors of another file, or with other settings, are not comparable."""
        entry = self._catalog.find(model)
        what = f"{self._catalog.identity(entry)} {self._catalog.settings(entry).computing()!r}"
        return hashlib.blake2b(what.encode(), digest_size=8).hexdigest()

    def decide(self, pair: Pair | None) -> Decision:
        decision = self.bound.decide(pair)
        self._changed()
        return decision

    def learn(self, pair: Pair, decision: Decision, same: bool) -> None:
        self.bound.learn(pair, decision, same)
        self._changed()

    def count_judge_question(self) -> None:
        """Counts a question to the judge."""
        self.bound.count_judge_question()
        self._changed()

    async def take_back(self, request: str, key: str) -> str | None:
        """Undoes the hit of `request` with the answer under `key`: the stored question answers no other any more, and the
        decision learns. Returns that question, None if it is gone already. Raises Storage.
        """
        if not await self.reopen():
            return None
        entry = await self.entries.of(key)
        for served in await self.entries.served(key):
            if served.request == request and served.verdict != UNDONE:
                if served.verdict != "different":  # learned already; a judge that said "same" was wrong
                    self.bound.wrong(*unpacked(served.pair))
                    self._changed()
                await self.entries.verdict(request, UNDONE)
        await self.entries.undo(key)
        return entry and entry.text

    async def undone(self) -> set[str]:
        """The keys of answers whose hits were undone. Raises Storage."""
        return await self.entries.undone() if await self.reopen() else set()

    async def audit(self, judge: str, judged: int) -> SemanticAudit:
        """The figures of `cache audit`. Raises Storage."""
        bound = self.bound if await self.reopen() else Bound(self._settings.max_error)
        found, undone = bound.audit(), await self.entries.count(UNDONE) if self.is_open else 0
        return SemanticAudit(
            requests=found.requests, hits=found.hits, hit_rate=round(found.hits / max(1, found.requests), 4),
            wrong_rate=found.wrong_rate if found.pairs else None,
            wrong_rate_upper=found.wrong_rate_upper if found.pairs else None,
            max_error=self._settings.max_error, pairs=found.pairs, judge=judge, explored=found.explored,
            verified=found.verified, judged=judged, undone=undone,
        )  # fmt: skip

    def fails(self, error: Exception) -> None:
        """Notes a failure to read or write."""
        self.errors += 1
        self.error = str(error) or type(error).__name__

    def works(self) -> None:
        self.error = None

    def looked(self, hit: bool, seconds: float) -> None:
        self.hits += hit
        self.misses += not hit
        self._times.append(seconds)

    async def show(self, key: str) -> dict[str, Any]:
        """The fields of `cache show` for the answer under `key`; {} if its question is not stored. Raises Storage."""
        entry = await self.entries.of(key) if await self.reopen() else None
        if entry is None:
            return {}
        served = await self.entries.served(key)
        return {"question": entry.text, "served": len(served), "same": entry.same, "different": entry.different}

    async def stats(self) -> LevelStats | None:
        """The figures of `cache stats`; None if nothing was opened since the hub started."""
        if not self.is_open and self.error is None:
            return None
        entries = size = 0
        try:
            if self.is_open and await self.reopen():
                entries, size = await self.entries.size()
        except (LlmctlError, OSError) as error:
            self.fails(error)
        p50 = round(statistics.median(self._times) * 1e3, 4) if self._times else None
        state = "ok" if self.error is None else "failing"
        return LevelStats("semantic", self.hits, self.misses, self.errors, entries, size, p50, state, self.error)

    def forget(self, keys: Sequence[str]) -> None:
        """Removes the questions of answers that are gone; returns at once."""
        if self.is_open:
            task = asyncio.ensure_future(self._forget(keys))
            task.add_done_callback(lambda done: done.exception())

    async def _forget(self, keys: Sequence[str]) -> None:
        try:
            await self.entries.remove(keys)
        except LlmctlError as error:
            log.warning("stored questions could not be removed", error=error.message)

    def _changed(self) -> None:
        if self._saving is None or self._saving.done():
            self._saving = asyncio.create_task(self._save_soon())

    async def _save_soon(self) -> None:
        await asyncio.sleep(SAVE_S)
        await self._save()

    async def _save(self) -> None:
        try:
            await self.entries.keep(BOUND, self.bound.state())
        except Storage as error:
            log.warning("what was learned could not be saved", error=error.message)

    async def close(self) -> None:
        async with self._turn:
            await self._close()

    async def _close(self) -> None:
        if self._space is None:
            return
        if self._saving is not None:
            self._saving.cancel()
        await self._save()
        await self.entries.close()
        self._space = None


def unpacked(pair: bytes) -> tuple[Pair, Decision]:
    """Decodes what `entries.packed` encoded. Raises msgspec.DecodeError."""
    return msgspec.msgpack.decode(pair, type=tuple[Pair, Decision])
