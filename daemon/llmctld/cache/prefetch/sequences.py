"""Learns which request follows which: decayed counts of the next request of the same person. Pure: no clock, no disk.

The reliability of counts is measured, not assumed: each prediction is compared with what followed, computed or not,
and the share that was correct is the probability of the next prediction with equal evidence. Knows keys only.
"""

from collections import OrderedDict
from typing import NamedTuple

import msgspec

SESSION_S = 1800.0
"""A pause after which a new session starts."""
KEEP = 0.9
"""Decay of a count per observation: about the last ten count."""
TRUST_KEEP = 0.98
"""Decay of the share of correct predictions: about the last fifty count."""
FOLLOWERS = 8
"""Followers stored per request; the rarest is dropped."""
ROWS, PEOPLE = 10_000, 10_000
"""Requests with followers, and people, remembered: those seen last."""
SEEN = 2
"""Minimum number of observations for a prediction."""
PRIOR = 5.0
"""Weight of the raw count, in predictions, before any prediction was compared."""

Evidence = tuple[int, int]
"""(times the first request was seen, at most 4; share of the follower in fifths)."""
Place = tuple[str, str]
"""(group, key). Nothing is shared between groups."""


class Followers(msgspec.Struct, array_like=True):
    """Followers of one request: how often it was seen, and follower -> [times, seconds until it came]; all decayed."""

    total: float = 0.0
    follows: dict[str, list[float]] = {}


class NextRequest(NamedTuple):
    """`key` follows with probability `chance`, about `gap` seconds later."""

    key: str
    chance: float
    gap: float
    evidence: Evidence


class Sequences:
    """`rows` and `trust` are the state; `changed`: keys of rows to be stored."""

    def __init__(self) -> None:
        self.rows: OrderedDict[Place, Followers] = OrderedDict()
        self.trust: dict[str, dict[str, list[float]]] = {}
        """Group -> evidence -> [correct, tried]."""
        self.changed: set[Place] = set()
        self._last: OrderedDict[Place, tuple[str, float]] = OrderedDict()

    def add_request(
        self, group: str, person: str, key: str, at: float, takes: bool = True
    ) -> tuple[NextRequest | None, bool]:
        """`person` requested `key` at `at` (seconds). Returns the earlier prediction, and whether it was correct.

        `takes`: a stored answer would be served; otherwise no prediction is correct.
        """
        before = self._last.pop((group, person), None)
        self._last[group, person] = (key, at)
        if len(self._last) > PEOPLE:
            self._last.popitem(last=False)
        if before is None:
            return None, False
        gap = at - before[1]
        follower = key if 0 <= gap <= SESSION_S else None
        if follower == before[0]:  # a repetition is not a step
            return None, False
        guess = self.guess(group, before[0])
        right = guess is not None and guess.key == follower and takes
        if guess is not None:
            self._judge(group, guess.evidence, right)
        self._count((group, before[0]), follower, gap)
        return guess, right

    def guess(self, group: str, key: str) -> NextRequest | None:
        """The most likely request after `key`, None if unknown."""
        row = self.rows.get((group, key))
        if row is None or not row.follows or round(row.total) < SEEN:
            return None
        follower, (count, gap) = max(row.follows.items(), key=lambda pair: pair[1][0])
        evidence = (min(4, round(row.total)), round(5 * count / row.total))
        right, tried = self.trust.get(group, {}).get(_name(evidence), (0.0, 0.0))
        chance = (right + PRIOR * (count + 1) / (row.total + 2)) / (tried + PRIOR)
        return NextRequest(follower, chance, gap, evidence)

    def forget(self, keys: set[str]) -> None:
        """Forgets these requests completely."""
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
