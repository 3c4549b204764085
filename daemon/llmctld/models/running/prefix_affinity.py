"""Which of several replicas a request goes to: the one that has computed the most of its beginning, unless that is much busier.

It remembers beginnings by their hashes, a limited number of each replica; the hub has no tokenizer, so it counts characters.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

BLOCK = 256
"""Characters that are told apart: about 64 tokens, below which a common beginning saves nothing worth a queue."""
BLOCKS = 4096
"""Remembered of each replica: a million characters."""


class PrefixAffinity(Generic[K]):
    """Beginnings that replicas have seen; a replica is named by any hashable key."""

    def __init__(self) -> None:
        self._seen: dict[K, OrderedDict[int, None]] = {}

    def choose(self, prompt: str, busy: Sequence[tuple[K, int]], margin: int) -> K:
        """Of (replica, requests that it has): the one with the longest common beginning, unless it has more than `margin`
        requests above the least busy one. The choice is remembered.
        """
        blocks = _blocks(prompt)
        least = min(count for _, count in busy)
        near = [(key, count) for key, count in busy if count <= least + margin]
        key, _ = max(near, key=lambda pair: (self._common(pair[0], blocks), -pair[1]))
        self._note(key, blocks)
        return key

    def forget(self, key: K) -> None:
        self._seen.pop(key, None)

    def _common(self, key: K, blocks: list[int]) -> int:
        """Leading blocks that this replica has seen."""
        seen = self._seen.get(key, OrderedDict())
        return next((index for index, block in enumerate(blocks) if block not in seen), len(blocks))

    def _note(self, key: K, blocks: list[int]) -> None:
        seen = self._seen.setdefault(key, OrderedDict())
        for block in blocks:
            seen[block] = None
            seen.move_to_end(block)
        while len(seen) > BLOCKS:
            seen.popitem(last=False)


def _blocks(prompt: str) -> list[int]:
    """A number for each whole block, which stands for all that is before it too."""
    found: list[int] = []
    before = 0
    for start in range(0, len(prompt) - BLOCK + 1, BLOCK):
        before = hash((before, prompt[start : start + BLOCK]))
        found.append(before)
    return found
