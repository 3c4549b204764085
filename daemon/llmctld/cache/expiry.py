"""How long answers are served, as the levels ask: the contract, and a fixed time for all.

lifetimes/learned.py implements the contract with predictions.
"""

from typing import Any, Protocol

from llmctld.cache.entries.book import EntryRow
from llmctld.cache.entries.context import Reuse
from llmctld.cache.level import Stored

DEFAULT_TTL_S = 30 * 86400.0


class Expiry(Protocol):
    """How long an answer is served, and what is learned about that (lifetimes/learned.py)."""

    reuse: Reuse
    news: list[str]

    def lifetime(self, key: str, answer: Stored) -> float:
        """Seconds that a new answer is stored."""
        ...

    def limit(self, key: str, answer: Stored) -> float:
        """Maximum age in seconds at which a stored answer is served, even before it expires."""
        ...

    def recomputed(self, before: EntryRow, answer: Stored) -> None:
        """Called when a key was computed again, with the old entry's metadata and the new answer, before that is
        stored.
        """
        ...

    def explain(self, key: str, answer: Stored) -> dict[str, Any]:
        """The lifetime section of `cache show`."""
        ...


class FixedExpiry:
    """Keeps every answer for `seconds` and learns nothing."""

    def __init__(self, seconds: float = DEFAULT_TTL_S) -> None:
        self._seconds = seconds
        self.reuse, self.news = Reuse(), list[str]()

    def lifetime(self, key: str, answer: Stored) -> float:
        return self._seconds

    def limit(self, key: str, answer: Stored) -> float:
        return float("inf")

    def recomputed(self, before: EntryRow, answer: Stored) -> None:
        pass

    def explain(self, key: str, answer: Stored) -> dict[str, Any]:
        return {}
