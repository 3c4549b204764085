"""The contract of an eviction policy: it is told of additions, hits and removals, and names the next victim.

The level knows whether eviction is needed, and for how many bytes.
"""

from typing import NamedTuple, Protocol


class Item(NamedTuple):
    """What a policy may know about an entry."""

    size: int
    """In bytes."""
    seconds: float
    """Cost of computing it again (money/pricing/recompute.py): seconds, and an hour for each unit of money."""
    frequency: int = 0
    """Hits from before it was added here."""
    context: float = 0.0
    """0..1: the mean reuse of its conversation, template and user."""


class Policy(Protocol):
    """Used by one thread at a time. The caller asks for victims until the rest fits, and removes their values.

    `hit` is on the path of every exact hit: it must take microseconds, at most O(log n).
    """

    def add(self, key: str, item: Item) -> None:
        """Adds a key, or replaces it and keeps its use counts."""
        ...

    def hit(self, key: str) -> None:
        """Ignores an unknown key."""
        ...

    def remove(self, key: str) -> None:
        """The key was cleared, refreshed or has expired, not evicted. Ignores an unknown key."""
        ...

    def victim(self) -> str | None:
        """Removes and returns the next key to evict; None if there is none.

        It may be the key just added, which amounts to refusing admission.
        """
        ...

    def __len__(self) -> int: ...
