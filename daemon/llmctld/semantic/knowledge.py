"""What the semantic cache has learned: its entries and its decision, opened by the first question and kept over restarts.

It belongs to one embedding model at a time; another one begins with nothing. It does not know requests.
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
from llmctld.semantic.decision.bound import Bound, Decision
from llmctld.semantic.decision.pair import Pair
from llmctld.semantic.entries import Entries
from llmctld.watch import log

CURRENT = "current.json"
SAVE_S = 1.0
"""What was learned is written down so long after it was."""
BOUND = "bound"
UNDONE = "undone"


class VectorSpace(msgspec.Struct, frozen=True):
    """The vectors of one embedding model: the name of their folder."""

    name: str
    dimension: int


class Knowledge:
    """`folder` holds a folder for each embedding model. `entries` and `bound` are there once `open` has returned."""

    def __init__(self, folder: Path, catalog: Catalog, tiers: Tiers, settings: Semantic) -> None:
        self._folder, self._catalog, self._tiers, self._settings = folder, catalog, tiers, settings
        tiers.gone.append(self.forget)
        tiers.explain["semantic"] = self.show
        self.entries: Entries
        self.bound: Bound
        self._space: VectorSpace | None = None
        self._turn = asyncio.Lock()
        self._saving: asyncio.Task[None] | None = None
        self._times: deque[float] = deque(maxlen=512)
        self._news: list[str] = []
        self.hits = self.misses = self.errors = 0
        self.error: str | None = None
        """What it failed with last, until something works again."""

    @property
    def is_open(self) -> bool:
        return self._space is not None

    async def open(self, model: str, dimension: int) -> None:
        """For this embedding model; begun anew where its folder was removed. Raises Storage."""
        await self._leave_what_was_removed()
        space = VectorSpace(self._name_of(model), dimension)
        if space != self._space:
            await self._enter(space)
            await asyncio.to_thread((self._folder / CURRENT).write_bytes, msgspec.json.encode(space))

    async def reopen(self) -> bool:
        """As the last hub had it; whether there was anything. Raises Storage."""
        await self._leave_what_was_removed()
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

    async def _leave_what_was_removed(self) -> None:
        """Closes what somebody has removed from outside: what would be stored there nobody would find."""
        async with self._turn:
            if self.is_open and self.entries.lost():
                log.warning("the stored questions were removed from outside, and are begun anew")
                self._news.append("the stored questions were removed from outside, and are begun anew")
                await self._close()

    async def _enter(self, space: "VectorSpace") -> None:
        async with self._turn:
            if space == self._space:
                return
            await self._close()
            entries = Entries(self._folder / space.name, space.dimension)
            await entries.open()
            stored = await self._tiers.keys()
            if stored is not None:  # answers that went while nobody looked, or were lost in a crash
                await entries.remove([key for key in await entries.keys() if key not in stored])
            self.bound = Bound(self._settings.max_error, state=await entries.kept(BOUND), seed=secrets.randbits(32))
            self.entries, self._space = entries, space

    def _name_of(self, model: str) -> str:
        """Vectors of another file, or made in another way, are no neighbours of these."""
        entry = self._catalog.find(model)
        what = f"{self._catalog.identity(entry)} {self._catalog.settings(entry).computing()!r}"
        return hashlib.blake2b(what.encode(), digest_size=8).hexdigest()

    def news(self) -> list[str]:
        """What the user should know about the entries, said once."""
        news, self.entries.news, self._news = self._news + self.entries.news, [], []
        return news

    def decide(self, pair: Pair | None) -> Decision:
        decision = self.bound.decide(pair)
        self._changed()
        return decision

    def learn(self, pair: Pair, decision: Decision, same: bool) -> None:
        self.bound.learn(pair, decision, same)
        self._changed()

    def ask(self) -> None:
        """A question is put to the judge."""
        self.bound.ask()
        self._changed()

    async def take_back(self, request: str, key: str) -> str | None:
        """A user undid the hit of `request` from the answer under `key`: its question answers no other any more, and the
        decision learns. That question; None where it had gone already. Raises Storage.
        """
        if not await self.reopen():
            return None
        entry = await self.entries.of(key)
        for served in await self.entries.served(key):
            if served.request == request and served.verdict != UNDONE:
                if (
                    served.verdict != "different"
                ):  # that one was learned already; a judge who said "same" is contradicted
                    self.bound.wrong(*unpacked(served.pair))
                    self._changed()
                await self.entries.verdict(request, UNDONE)
        await self.entries.undo(key)
        return entry and entry.text

    async def undone(self) -> set[str]:
        """The keys of answers that were taken back. Raises Storage."""
        return await self.entries.undone() if await self.reopen() else set()

    async def audit(self, judge: str, judged: int) -> SemanticAudit:
        """What the decision knows about itself. Raises Storage."""
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
        """Somebody could not read or write what is stored here."""
        self.errors += 1
        self.error = str(error) or type(error).__name__

    def works(self) -> None:
        self.error = None

    def looked(self, hit: bool, seconds: float) -> None:
        self.hits += hit
        self.misses += not hit
        self._times.append(seconds)

    async def show(self, key: str) -> dict[str, Any]:
        """What `cache show` says of the answer under `key`; {} where its question answers no other. Raises Storage."""
        entry = await self.entries.of(key) if await self.reopen() else None
        if entry is None:
            return {}
        served = await self.entries.served(key)
        return {"question": entry.text, "served": len(served), "same": entry.same, "different": entry.different}

    async def stats(self) -> LevelStats | None:
        """None where no question was stored or looked for since the hub began."""
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
        """Their answers are gone."""
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
            log.warning("what was learned could not be written down", error=error.message)

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
    """What `packed` made. Raises msgspec.DecodeError."""
    return msgspec.msgpack.decode(pair, type=tuple[Pair, Decision])
