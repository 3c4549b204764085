"""What `cache stats` and `cache show` print: the figures of all levels, and one entry with what is known about it.

It changes nothing.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from llmctl.errors import InvalidRequest, NotFound, short
from llmctl.wire import CacheShown, CacheStats
from llmctld.cache.entries.book import Book
from llmctld.cache.expiry import Expiry
from llmctld.cache.level import Stored
from llmctld.cache.levels.levels import Levels
from llmctld.runtime.counters import Counters

Peek = Callable[[str], Awaitable[Stored | None]]
"""The stored answer of a key if it has not expired."""
Explain = Callable[[str], Awaitable[dict[str, Any]]]
"""A section of `cache show`, made from a key."""


class Report:
    def __init__(self, levels: Levels, counters: Counters, expiry: Expiry, peek: Peek) -> None:
        self._levels, self._expiry, self._peek = levels, expiry, peek
        self._requests, self._joined = counters.counter("cache_requests"), counters.counter("cache_joined")
        self._saved_s = counters.counter("cache_saved_seconds")
        self._saved_cost, self._priced = counters.counter("cache_saved_cost"), counters.counter("cache_priced_hits")
        self._explanations: dict[str, Explain] = {}

    def add_explanation(self, name: str, explain: Explain) -> None:
        """Adds a section `name` to `cache show`."""
        self._explanations[name] = explain

    async def stats(self) -> CacheStats:
        levels = await self._levels.reports()
        hits = sum(level.hits for level in levels)
        requests, joined = int(self._requests.value), int(self._joined.value)
        rate = round(hits / requests, 4) if requests else 0.0
        return CacheStats(
            levels=levels, requests=requests, hit_rate=rate, joined=joined, saved_s=round(self._saved_s.value, 3),
            saved_cost=round(self._saved_cost.value, 12) if self._priced.value else None,
        )  # fmt: skip

    async def show(self, book: Book, beginning: str) -> CacheShown:
        """The one entry with this key prefix. Raises NotFound, and InvalidRequest if it is ambiguous."""
        keys = await book.keys_with_prefix(beginning)
        answer = await self._peek(keys[0]) if len(keys) == 1 else None
        entry = await book.entry(keys[0]) if answer is not None else None
        if len(keys) > 1:
            raise InvalidRequest(
                f"{len(keys)} or more keys begin with {short(beginning)!r}",
                "Give a longer prefix; `llmctl cache ls` lists the keys.",
            )
        if answer is None or entry is None:
            raise NotFound(
                f"no stored answer has the key {short(beginning)!r}", "`llmctl cache ls` lists the stored answers."
            )
        return CacheShown(
            entry=entry, levels=await self._levels.holding(entry.key), text=answer.first.text,
            reasoning=answer.first.reasoning, finish_reason=answer.first.finish_reason, usage=answer.first.usage,
            samples=[each.text for each in answer.answers[1:]],
            more=await self._explained(entry.key, answer),
        )  # fmt: skip

    async def _explained(self, key: str, answer: Stored) -> dict[str, dict[str, Any]]:
        more = {name: await explain(key) for name, explain in self._explanations.items()}
        return {"lifetime": self._expiry.explain(key, answer), **more}
