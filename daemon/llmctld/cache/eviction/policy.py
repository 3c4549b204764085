"""The contract of a policy: it is told what comes, is hit and goes, and names what should go next.

Whether there is room, and for how many bytes, is the level's to know.
"""

from typing import NamedTuple, Protocol


class Item(NamedTuple):
    """What a policy may know about an entry."""

    size: int
    """Bytes."""
    seconds: float
    """What computing it took; money, where the prices of all that is compared are known."""
    frequency: int = 0
    """Hits that are known of it already, from before it was here."""
    context: float = 0.0
    """0..1: the mean reuse of its conversation, its template and its user."""


class Policy(Protocol):
    """One thread at a time. The caller asks for victims until what is left fits, and removes their values.

    `hit` lies on the path of every exact hit: at most logarithmic, microseconds.
    """

    def add(self, key: str, item: Item) -> None:
        """A key that is there already is replaced, and keeps what is known of its use."""
        ...

    def hit(self, key: str) -> None:
        """Nothing for a key that is not there."""
        ...

    def remove(self, key: str) -> None:
        """Not evicted: cleared, refreshed, expired. Nothing for a key that is not there."""
        ...

    def victim(self) -> str | None:
        """Takes out, and names, what should go next; None when nothing is left.

        It may be what was just added: so a policy refuses admission.
        """
        ...

    def __len__(self) -> int: ...
