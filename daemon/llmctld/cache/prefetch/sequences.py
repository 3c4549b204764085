"""What follows what: for each request, which request of the same person came next, in counts that age; pure, no clock, no disk.

How far such counts can be trusted is not assumed but measured: each guess is held against what really came, whether or
not anything was computed for it, and the share that was right is the chance that the next guess on equal evidence gets.
It knows requests by their keys alone.
"""

from collections import OrderedDict
from typing import NamedTuple

import msgspec

SESSION_S = 1800.0
"""Who was silent for so long begins something new: nothing followed."""
KEEP = 0.9
"""What a count is worth after one more observation: about the last ten are remembered."""
TRUST_KEEP = 0.98
"""The same for the share of guesses that were right: about the last fifty."""
FOLLOWERS = 8
"""Of one request, at most; the rarest goes."""
ROWS, PEOPLE = 10_000, 10_000
"""Requests with followers, and people, that are remembered: those seen last."""
SEEN = 2
"""What was seen less often has no habits yet."""
PRIOR = 5.0
"""Guesses that the counts themselves are worth, before any was held against what came."""

Evidence = tuple[int, int]
"""How often the first request was seen (4: or more), and the share of the follower among what followed, in fifths."""
Place = tuple[str, str]
"""A group, within which everything is shared and nothing beyond, and the key of a request."""


class Followers(msgspec.Struct, array_like=True):
    """What followed one request: how often it was seen, and for each follower [times, seconds until it came]; both age."""

    total: float = 0.0
    follows: dict[str, list[float]] = {}


class Prediction(NamedTuple):
    """`chance` that `key` is next, some `gap` seconds later."""

    key: str
    chance: float
    gap: float
    evidence: Evidence


class Sequences:
    """`rows` and `trust` are its state; `changed` names the rows that were written to, for whoever keeps them."""

    def __init__(self) -> None:
        self.rows: OrderedDict[Place, Followers] = OrderedDict()
        self.trust: dict[str, dict[str, list[float]]] = {}
        """Group -> evidence -> [right, tried]."""
        self.changed: set[Place] = set()
        self._last: OrderedDict[Place, tuple[str, float]] = OrderedDict()

    def saw(self, group: str, person: str, key: str, at: float, takes: bool = True) -> tuple[Prediction | None, bool]:
        """`person` asked `key` at `at` (seconds): what would have been guessed before, and whether that was right.

        `takes`: a stored answer would be served. No guess is right about a request that wants it computed.
        """
        before = self._last.pop((group, person), None)
        self._last[group, person] = (key, at)
        if len(self._last) > PEOPLE:
            self._last.popitem(last=False)
        if before is None:
            return None, False
        gap = at - before[1]
        follower = key if gap <= SESSION_S else None
        if follower == before[0]:  # asked once more: no step
            return None, False
        guess = self.guess(group, before[0])
        right = guess is not None and guess.key == follower and takes
        if guess is not None:
            self._judge(group, guess.evidence, right)
        self._count((group, before[0]), follower, gap)
        return guess, right

    def guess(self, group: str, key: str) -> Prediction | None:
        """The likeliest request after `key`; None where none is known."""
        row = self.rows.get((group, key))
        if row is None or not row.follows or round(row.total) < SEEN:
            return None
        follower, (count, gap) = max(row.follows.items(), key=lambda pair: pair[1][0])
        evidence = (min(4, round(row.total)), round(5 * count / row.total))
        right, tried = self.trust.get(group, {}).get(_name(evidence), (0.0, 0.0))
        chance = (right + PRIOR * (count + 1) / (row.total + 2)) / (tried + PRIOR)
        return Prediction(follower, chance, gap, evidence)

    def forget(self, keys: set[str]) -> None:
        """As if these requests had never been made."""
        for place in [place for place, row in self.rows.items() if place[1] in keys or keys & row.follows.keys()]:
            row = self.rows[place]
            for key in keys & row.follows.keys():
                row.total -= row.follows.pop(key)[0]
            if place[1] in keys or not row.follows:
                del self.rows[place]
            self.changed.add(place)
        for person in [person for person, (key, _) in self._last.items() if key in keys]:
            del self._last[person]

    def _judge(self, group: str, evidence: Evidence, right: bool) -> None:
        counts = self.trust.setdefault(group, {}).setdefault(_name(evidence), [0.0, 0.0])
        counts[0] = counts[0] * TRUST_KEEP + right
        counts[1] = counts[1] * TRUST_KEEP + 1

    def _count(self, place: Place, follower: str | None, gap: float) -> None:
        row = self.rows.setdefault(place, Followers(follows={}))
        self.rows.move_to_end(place)
        row.total = row.total * KEEP + 1
        for counts in row.follows.values():
            counts[0] *= KEEP
        if follower is not None:
            counts = row.follows.setdefault(follower, [0.0, gap])
            counts[0] += 1
            counts[1] += (gap - counts[1]) * (1 - KEEP)
            if len(row.follows) > FOLLOWERS:
                del row.follows[min(row.follows, key=lambda key: row.follows[key][0])]
        self.changed.add(place)
        if len(self.rows) > ROWS:
            self.changed.add(self.rows.popitem(last=False)[0])


def _name(evidence: Evidence) -> str:
    return f"{evidence[0]}:{evidence[1]}"
