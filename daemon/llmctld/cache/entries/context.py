"""How often what belongs together was asked for again: the requests of a conversation, a template, a user.

Its mean is what the weighted policy calls context importance. Names only; it does not know what was asked.
"""

import hashlib
from collections.abc import Sequence

import msgspec

GROUPS = 10_000
"""That are remembered; those that asked last."""


class Reuse:
    """`state` is what `state()` gave; one that cannot be read is ignored."""

    def __init__(self, state: bytes | None = None) -> None:
        self._groups: dict[str, tuple[int, int]] = {}  # requests, and those of them that were hits; the last at the end
        if state is not None:
            try:
                self._groups = msgspec.json.decode(state, type=dict[str, tuple[int, int]])
            except msgspec.DecodeError:
                self._groups = {}

    def note(self, groups: Sequence[str], hit: bool) -> None:
        """A request of these groups came."""
        for group in groups:
            requests, hits = self._groups.pop(group, (0, 0))
            self._groups[group] = (requests + 1, hits + hit)
        while len(self._groups) > GROUPS:
            del self._groups[next(iter(self._groups))]

    def importance(self, groups: Sequence[str]) -> float:
        """0..1: the mean share of hits in the requests of these groups, those that are known."""
        known = [self._groups[group] for group in groups if group in self._groups]
        return sum(hits / requests for requests, hits in known) / len(known) if known else 0.0

    def state(self) -> bytes:
        return msgspec.json.encode(self._groups)


def template_of(system: str | None, prompt: str | None, filled: bool) -> str:
    """What tells a template apart: the system prompt, and with `filled` the prompt before its places were filled."""
    if not system and not filled:
        return ""
    text = f"{system or ''}\0{(prompt or '') if filled else ''}"
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


def groups_of(user: str, conversation: str | None, template: str | None) -> list[str]:
    """The groups that a request belongs to, by name."""
    named = (("user", user), ("conversation", conversation), ("template", template))
    return [f"{kind} {name}" for kind, name in named if name]
