"""Reuse of related requests: how often the requests of a conversation, a template or a user were hits.

The mean is the context importance of the weighted policy. Knows names only.
"""

import hashlib
from collections.abc import Sequence

import msgspec

GROUPS = 10_000
"""Groups remembered: those used last."""


class Reuse:
    """`state`: from an earlier `state()`; an invalid one is ignored."""

    def __init__(self, state: bytes | None = None) -> None:
        self._groups: dict[str, tuple[int, int]] = {}  # (requests, hits) per group, last used at the end
        if state is not None:
            try:
                self._groups = msgspec.json.decode(state, type=dict[str, tuple[int, int]])
            except msgspec.DecodeError:
                self._groups = {}

    def note(self, groups: Sequence[str], hit: bool) -> None:
        """Counts a request of these groups."""
        for group in groups:
            requests, hits = self._groups.pop(group, (0, 0))
            self._groups[group] = (requests + 1, hits + hit)
        while len(self._groups) > GROUPS:
            del self._groups[next(iter(self._groups))]

    def importance(self, groups: Sequence[str]) -> float:
        """0..1: the mean hit rate of the known groups."""
        known = [self._groups[group] for group in groups if group in self._groups]
        return sum(hits / requests for requests, hits in known) / len(known) if known else 0.0

    def state(self) -> bytes:
        return msgspec.json.encode(self._groups)


def template_of(system: str | None, prompt: str | None, filled: bool) -> str:
    """Identifies a template by the system prompt, and by the prompt before filling if it was `filled`."""
    if not system and not filled:
        return ""
    text = f"{system or ''}\0{(prompt or '') if filled else ''}"
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


def groups_of(user: str, conversation: str | None, template: str | None) -> list[str]:
    """Names of the groups of a request."""
    named = (("user", user), ("conversation", conversation), ("template", template))
    return [f"{kind} {name}" for kind, name in named if name]
