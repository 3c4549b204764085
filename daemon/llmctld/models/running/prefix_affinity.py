"""Chooses the replica that has computed the longest prefix of a prompt, unless it is much busier than another.

Remembers hashes of prompt prefixes, a limited number per replica. It counts characters, since the hub has no
tokenizer.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

BLOCK = 256
"""Characters per block, about 64 tokens; a shorter common prefix saves too little."""
BLOCKS = 4096
"""Blocks remembered per replica: a million characters."""


class PrefixAffinity(Generic[K]):
    """Prompt prefixes that replicas have computed. A replica is any hashable key."""

    def __init__(self) -> None:
        self._seen: dict[K, OrderedDict[int, None]] = {}

    def choose(self, prompt: str, busy: Sequence[tuple[K, int]], margin: int) -> K:
        """The replica with the longest common prefix among those with at most `margin` requests more than the least
        busy one.

        `busy`: (replica, number of requests). The choice is remembered.
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
        """Number of leading blocks that the replica has computed."""
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
    """One hash per whole block, which covers all blocks before it."""
    found: list[int] = []
    before = 0
    for start in range(0, len(prompt) - BLOCK + 1, BLOCK):
        before = hash((before, prompt[start : start + BLOCK]))
        found.append(before)
    return found
