"""Who owns which stream of the KV memory: lowest free first, so that the running ones stay packed at the low end.

It knows numbers only, neither sequences' contents nor the memory itself.
"""

import heapq


class Slots:
    """Streams 0..count-1, each owned by one request at most."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = list(range(count))
        self._owner: dict[int, int] = {}

    @property
    def busy(self) -> int:
        return len(self._owner)

    def take(self, owner: int) -> int | None:
        """The lowest free stream, now `owner`'s; None when all are taken."""
        if not self._free:
            return None
        stream = heapq.heappop(self._free)
        self._owner[stream] = owner
        return stream

    def give(self, stream: int) -> None:
        """Return a stream; KeyError when nobody owns it."""
        del self._owner[stream]
        heapq.heappush(self._free, stream)

    def move(self, stream: int) -> int:
        """The owner of `stream` gets the lowest free one instead; IndexError when there is none."""
        target = heapq.heappop(self._free)
        self._owner[target] = self._owner[stream]
        self.give(stream)
        return target

    def check(self, owners: dict[int, int]) -> None:
        """Prove that exactly `owners` (stream -> request) hold streams and that none is lost; RuntimeError if not."""
        if self._owner != owners:
            raise RuntimeError(f"slots: owned {self._owner}, but the running requests hold {owners}")
        if sorted([*self._free, *self._owner]) != list(range(self.count)):
            free, owned = sorted(self._free), sorted(self._owner)
            raise RuntimeError(f"slots: free {free} and owned {owned} are not 0..{self.count - 1}")
