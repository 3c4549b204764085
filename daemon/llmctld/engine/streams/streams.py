"""Contents and owners of the KV memory's streams.

It knows streams, owners and tokens, not when a request runs, and never touches the memory itself.
"""

import numpy as np

from llmctld.engine.messages import Adapter
from llmctld.engine.streams.radix import Radix, Tokens

NOTHING: Tokens = np.empty(0, np.int32)


class Streams:
    """Streams 0..count-1. A stream without an owner keeps its last content until it is overwritten.

    Owned streams form a contiguous window as far as the scheduler can keep it so: llama.cpp splits a batch between streams that
    are not adjacent, and reads all weights again for each part.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._owner: dict[int, int] = {}
        self._held: list[Tokens] = [NOTHING] * count
        self._adapters: list[tuple[Adapter, ...]] = [()] * count
        self._used = [0] * count
        self._prompts = [0] * count
        self._clock = 0
        self._tree = Radix()

    @property
    def owned(self) -> list[int]:
        return sorted(self._owner)

    @property
    def free(self) -> list[int]:
        return [stream for stream in range(self.count) if stream not in self._owner]

    def gaps(self) -> list[int]:
        """Free streams between owned ones."""
        owned = self.owned
        return [stream for stream in range(owned[0], owned[-1]) if stream not in self._owner] if owned else []

    def targets(self) -> list[int]:
        """Streams where the next request may run: a gap, else next to the window; any stream while nothing runs."""
        owned = self.owned
        if not owned:
            return self.free
        ends = [owned[0] - 1, owned[-1] + 1]
        return self.gaps() or [stream for stream in ends if 0 <= stream < self.count]

    def take(self, stream: int, owner: int, prompt: Tokens, adapters: tuple[Adapter, ...] = ()) -> None:
        """Make `owner` run in a free stream, which will hold `prompt` once it is computed."""
        if stream in self._owner:
            raise RuntimeError(f"stream {stream} belongs to request {self._owner[stream]}")
        self._owner[stream], self._adapters[stream] = owner, adapters
        self._hold(stream, prompt)

    def give(self, stream: int, computed: Tokens, prompt: int = 0) -> None:
        """Release the stream. `computed`: what the memory holds now, of which the first `prompt` tokens were the prompt.

        Raises KeyError if it has no owner.
        """
        del self._owner[stream]
        self._hold(stream, computed, prompt)

    def copy(self, source: int, target: int) -> None:
        """Copy the content of a free stream to another free one."""
        self._adapters[target] = self._adapters[source]
        self._hold(target, self._held[source], self._prompts[source])

    def move(self, source: int, target: int, computed: Tokens) -> None:
        """Move the owner of `source` to the free stream `target`; both hold its `computed` tokens."""
        owner, prompt = self._owner[source], self._held[source]
        self.give(source, computed)
        self.take(target, owner, prompt, self._adapters[source])

    def held(self, stream: int) -> Tokens:
        return self._held[stream]

    def prompt(self, stream: int) -> int:
        """Number of prompt tokens in a free stream; the rest was generated."""
        return self._prompts[stream]

    def adapters(self, stream: int) -> tuple[Adapter, ...]:
        """Adapters with which the stream's tokens were computed."""
        return self._adapters[stream]

    def match(self, tokens: Tokens, adapters: tuple[Adapter, ...] = ()) -> dict[int, int]:
        """Stream -> length of the prefix it shares with `tokens`, computed or still to be computed."""
        found = self._tree.match(tokens)
        return {stream: length for stream, length in found.items() if self._adapters[stream] == adapters}

    def unshared_tokens(self, stream: int, keep: int = 0) -> int:
        """Number of tokens that would be lost if the stream kept only its first `keep`: no other stream holds them."""
        return max(0, len(self._held[stream]) - max(keep, self._tree.shared(stream)))

    def age(self, stream: int) -> int:
        """Number of changes since the stream was last used, from 0."""
        return self._clock - self._used[stream]

    def check(self, owners: dict[int, int]) -> None:
        """Verify that exactly `owners` (stream -> request) own streams, and that the tree matches the contents."""
        if self._owner != owners:
            raise RuntimeError(f"slots: owned {self._owner}, but the running requests hold {owners}")
        if len(set(owners.values())) < len(owners):
            raise RuntimeError(f"slots: a request owns two streams in {owners}")
        self._tree.check({stream: held for stream, held in enumerate(self._held) if stream in self._tree})
        if any(len(held) for stream, held in enumerate(self._held) if stream not in self._tree):
            raise RuntimeError("slots: a stream holds tokens that the tree does not know")

    def _hold(self, stream: int, tokens: Tokens, prompt: int = 0) -> None:
        self._clock += 1
        self._used[stream] = self._clock
        self._held[stream], self._prompts[stream] = tokens, prompt
        self._tree.hold(stream, tokens)
