"""Whether drafted tokens pay: what they would bring, by how such guesses fared, against what a wider step costs.

It knows rates and times that are handed to it, and no clock; where drafts come from is lookup.py's and asking.py's.
"""

from collections.abc import Callable
from typing import NamedTuple

from llmctld.engine.cost.step_cost import StepCost, passes
from llmctld.engine.drafts.lookup import SIZES, Drafter, Guess

EXPECTED = {8: 0.8, 4: 0.5, 2: 0.2, 1: 0.1}
"""The share of right guesses, by size, before a text has shown its own (tests/bench/LOG.md has three texts' shares)."""
EXPECTED_WEIGHT = 3.0
"""Guesses that the expectation counts as."""
MEMORY = 0.98
"""Of what was learned, the share that is kept at the next guess: about the last 50 count."""
LONGEST = 15
"""Tokens of one draft, at most: 16 rows with the token before them. Kernels compute rows in fours, eights or sixteens."""
ROWS = 32
"""Drafted tokens in one step, of all sequences together: each needs a row of logits, kept free in memory."""
LENGTHENED = {
    size: [max(known for known in SIZES if known <= size + more) for more in range(LONGEST)] for size in SIZES
}
"""By the size of a match, the size that it counts as for each token of the draft: right ones lengthen it."""
PLAIN_EVERY = WHOLE_EVERY = 32
"""Steps with drafts after which one goes without, and one with a draft as long as any: so that both ends of the line stay
known, and no step between is the best only because another was not tried."""
LIKELY = 0.5
"""The chance at which a whole draft may be tried."""
MARGIN = 1.05
"""Expected gain below which it is not worth the risk."""
FLOORS = (0.8, 0.65, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05)
"""Chances that are tried as the least with which a token is drafted."""


class Offer(NamedTuple):
    """Drafted tokens, and for each the chance that it and all before it are accepted."""

    tokens: list[int]
    chances: list[float]


NO_OFFER = Offer([], [])

Price = Callable[[dict[int, int]], float]
"""Milliseconds that it takes to make drafts of these lengths (by stream), before a step can compute them."""


def free(_: dict[int, int]) -> float:
    """The price of drafts that are looked up, or made already."""
    return 0.0


class Acceptance:
    """How often the next token of one sequence was the one that its drafter would have named.

    Every token tells, drafted or not: so a sequence whose drafts do not pay goes on to be judged at no cost.
    """

    def __init__(self) -> None:
        self._right = dict.fromkeys(SIZES, 0.0)
        self._all = dict.fromkeys(SIZES, 0.0)

    def learn(self, guess: Guess) -> None:
        self._right[guess.size] = self._right[guess.size] * MEMORY + guess.right
        self._all[guess.size] = self._all[guess.size] * MEMORY + 1

    def rate(self, size: int) -> float:
        """The expected share of right guesses, 0..1."""
        expected = EXPECTED[size] * EXPECTED_WEIGHT
        return (self._right[size] + expected) / (self._all[size] + EXPECTED_WEIGHT)

    def chances(self, size: int, count: int) -> list[float]:
        """For each of `count` drafted tokens that it and all before it are accepted; each one lengthens the match."""
        if not size:
            return []
        rates = {known: self.rate(known) for known in SIZES}
        chance, found = 1.0, []
        for known in LENGTHENED[size][:count]:
            chance *= rates[known]
            found.append(chance)
        return found


class Drafts:
    """What one sequence has to offer in each step, a function of its tokens alone."""

    def __init__(self) -> None:
        self._drafter = Drafter()
        self._acceptance = Acceptance()

    def offer(self, tokens: list[int], limit: int) -> Offer:
        """At most `limit` tokens after `tokens`, which only ever grow."""
        for guess in self._drafter.read(tokens):
            self._acceptance.learn(guess)
        draft = self._drafter.propose(tokens, min(limit, LONGEST))
        return Offer(draft.tokens, self._acceptance.chances(draft.size, len(draft.tokens)))


class Speculation:
    """Decides for each step of an engine how many tokens of each sequence's draft go through the model with it."""

    def __init__(self) -> None:
        self.cost = StepCost()
        self.spent_ms = 0.0
        """What all measured steps took."""
        self._since_plain = self._since_whole = 0

    def measured(self, rows: dict[int, int], ms: float) -> None:
        """A step of sampling sequences alone, with `rows` in each stream, took `ms`."""
        self.cost.learn(passes(rows), sum(rows.values()), ms)
        self.spent_ms += ms
        longest = max(rows.values()) - 1
        self._since_plain = self._since_plain + 1 if longest else 0
        self._since_whole = self._since_whole + (longest > 0) if longest < LONGEST else 0

    def drafts(self, offers: dict[int, Offer], room: int, whole: int | None = None) -> dict[int, list[int]]:
        """Of each stream's offer, what goes through the model; that of the stream `whole` all, whatever it costs."""
        chances = {stream: offer.chances for stream, offer in offers.items()}
        lengths = dict(self.lengths(chances, room))
        if whole is not None:
            left = min(room, ROWS) - sum(lengths.values())
            lengths[whole] = min(len(chances[whole]), lengths[whole] + left)
        return {stream: offer.tokens[: lengths[stream]] for stream, offer in offers.items()}

    def lengths(self, chances: dict[int, list[float]], room: int, price: Price = free) -> dict[int, int]:
        """Stream -> tokens to draft, so that most tokens come per millisecond.

        `chances`: for each stream that samples, those of its drafted tokens, none where there is no draft. `room`: rows
        that the step has beyond one for each stream. `price`: of making the drafts, where they are not made yet.
        """
        room = min(room, ROWS)
        found = nothing = dict.fromkeys(chances, 0)
        likeliest = max((each[0] for each in chances.values() if each), default=0.0)
        if not likeliest:
            return nothing  # also where nobody samples: a step without rows may cost nothing, and nothing can be a share of it
        if self._since_plain >= PLAIN_EVERY or likeliest <= self._least(len(chances)):
            return nothing
        best = self.gain(chances, nothing) * MARGIN
        for floor in FLOORS:
            lengths = _above(floor, chances, room)
            if (gain := self.gain(chances, lengths, price)) > best:
                best, found = gain, lengths
        if found != nothing and self._since_whole >= WHOLE_EVERY:
            whole = _above(LIKELY, chances, room)
            return whole if max(whole.values()) == LONGEST else found
        return found

    def _least(self, streams: int) -> float:
        """The chance that even one token more for every stream, which costs no pass of its own, must have to pay."""
        return MARGIN * self.cost.estimate(1, 2 * streams) / self.cost.estimate(1, streams) - 1

    def gain(self, chances: dict[int, list[float]], lengths: dict[int, int], price: Price = free) -> float:
        """Tokens per millisecond that are expected."""
        tokens = sum(1 + sum(each[: lengths[stream]]) for stream, each in chances.items())
        rows = {stream: 1 + length for stream, length in lengths.items()}
        return tokens / (self.cost.estimate(passes(rows), sum(rows.values())) + price(lengths))


def _above(floor: float, chances: dict[int, list[float]], room: int) -> dict[int, int]:
    """Stream -> how many of its tokens have at least that chance, the room being shared out equally."""
    lengths = {stream: sum(chance >= floor for chance in each) for stream, each in chances.items()}
    share = room // max(sum(length > 0 for length in lengths.values()), 1)
    return {stream: min(length, share) for stream, length in lengths.items()}
