"""Decides whether drafted tokens pay: expected accepted tokens against the cost of a wider step.

Callers pass in rates and times; this module reads no clock. Drafts come from drafts/lookup.py and core/draft_policy.py.
"""

from collections.abc import Callable
from typing import NamedTuple

from llmctld.engine.cost.step_cost import StepCost, passes
from llmctld.engine.drafts.lookup import SIZES, Drafter, Prediction

EXPECTED = {8: 0.8, 4: 0.5, 2: 0.2, 1: 0.1}
"""Expected acceptance by n-gram size before a text has shown its own (three texts in tests/bench/LOG.md)."""
EXPECTED_WEIGHT = 3.0
"""Weight of that expectation, in guesses."""
MEMORY = 0.98
"""Weight of earlier guesses at each new one: about the last 50 count."""
DRAFT_TOKENS = 15
"""Most tokens of one draft: 16 rows with the token before them. Kernels compute rows in groups of 4, 8 or 16."""
ROWS = 32
"""Most drafted tokens in one step over all sequences. Each needs a row of logits in memory."""
LENGTHENED = {
    size: [max(known for known in SIZES if known <= size + more) for more in range(DRAFT_TOKENS)] for size in SIZES
}
"""By match size, the size that each token of the draft counts as: accepted tokens lengthen the match."""
PLAIN_EVERY = WHOLE_EVERY = 32
"""Every 32nd step with drafts goes without one, and another with the longest, so that the cost fit has points at both ends."""
LIKELY = 0.5
"""Minimum chance of each token in a trial of the longest draft."""
MARGIN = 1.05
"""Minimum expected gain that is worth the risk."""
FLOORS = (0.8, 0.65, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05)
"""Candidates for the minimum chance of a drafted token."""


class Offer(NamedTuple):
    """Drafted tokens, and for each the chance that it and all before it are accepted."""

    tokens: list[int]
    chances: list[float]


NO_OFFER = Offer([], [])

Price = Callable[[dict[int, int]], float]
"""Milliseconds to make drafts of these lengths (by stream) before a step can compute them."""


def free(_: dict[int, int]) -> float:
    """The price of drafts that are looked up or made already."""
    return 0.0


class Acceptance:
    """Acceptance rate of one sequence's drafter.

    Every token counts, drafted or not, so that a sequence whose drafts do not pay is still judged at no cost.
    """

    def __init__(self) -> None:
        self._right = dict.fromkeys(SIZES, 0.0)
        self._all = dict.fromkeys(SIZES, 0.0)

    def learn(self, guess: Prediction) -> None:
        self._right[guess.size] = self._right[guess.size] * MEMORY + guess.right
        self._all[guess.size] = self._all[guess.size] * MEMORY + 1

    def rate(self, size: int) -> float:
        """Expected acceptance for an n-gram size, 0..1."""
        expected = EXPECTED[size] * EXPECTED_WEIGHT
        return (self._right[size] + expected) / (self._all[size] + EXPECTED_WEIGHT)

    def chances(self, size: int, count: int) -> list[float]:
        """For each of `count` drafted tokens, the chance that it and all before it are accepted."""
        if not size:
            return []
        rates = {known: self.rate(known) for known in SIZES}
        chance, found = 1.0, []
        for known in LENGTHENED[size][:count]:
            chance *= rates[known]
            found.append(chance)
        return found


class Drafts:
    """Drafts of one sequence; a function of its tokens alone."""

    def __init__(self) -> None:
        self._drafter = Drafter()
        self._acceptance = Acceptance()

    def offer(self, tokens: list[int], limit: int) -> Offer:
        """At most `limit` tokens after `tokens`, which only ever grow."""
        for guess in self._drafter.read(tokens):
            self._acceptance.learn(guess)
        draft = self._drafter.propose(tokens, min(limit, DRAFT_TOKENS))
        return Offer(draft.tokens, self._acceptance.chances(draft.size, len(draft.tokens)))


class Speculation:
    """Decides for each step how many drafted tokens of each sequence are computed."""

    def __init__(self) -> None:
        self.cost = StepCost()
        self.spent_ms = 0.0
        """Total milliseconds of all measured steps."""
        self._since_plain = self._since_whole = 0

    def measured(self, rows: dict[int, int], ms: float) -> None:
        """Record a step in which every sequence samples, with `rows` per stream, which took `ms`."""
        self.cost.learn(passes(rows), sum(rows.values()), ms)
        self.spent_ms += ms
        longest = max(rows.values()) - 1
        self._since_plain = self._since_plain + 1 if longest else 0
        self._since_whole = self._since_whole + (longest > 0) if longest < DRAFT_TOKENS else 0

    def drafts(self, offers: dict[int, Offer], room: int, whole: int | None = None) -> dict[int, list[int]]:
        """Tokens of each stream's offer to compute; the offer of stream `whole` is taken in full regardless of cost."""
        chances = {stream: offer.chances for stream, offer in offers.items()}
        lengths = dict(self.lengths(chances, room))
        if whole is not None:
            left = min(room, ROWS) - sum(lengths.values())
            lengths[whole] = min(len(chances[whole]), lengths[whole] + left)
        return {stream: offer.tokens[: lengths[stream]] for stream, offer in offers.items()}

    def lengths(self, chances: dict[int, list[float]], room: int, price: Price = free) -> dict[int, int]:
        """Stream -> number of tokens to draft, for the most tokens per millisecond.

        `chances`: per sampling stream, those of its drafted tokens (empty: no draft). `room`: rows left in the step beyond one
        per stream. `price`: cost of making the drafts, if they are not made yet.
        """
        room = min(room, ROWS)
        found = nothing = dict.fromkeys(chances, 0)
        likeliest = max((each[0] for each in chances.values() if each), default=0.0)
        if not likeliest:
            return nothing  # also if no stream samples: a step without rows may cost 0, and the gain divides by it
        if self._since_plain >= PLAIN_EVERY or likeliest <= self._least(len(chances)):
            return nothing
        best = self.gain(chances, nothing) * MARGIN
        for floor in FLOORS:
            lengths = _above(floor, chances, room)
            if (gain := self.gain(chances, lengths, price)) > best:
                best, found = gain, lengths
        if found != nothing and self._since_whole >= WHOLE_EVERY:
            whole = _above(LIKELY, chances, room)
            return whole if max(whole.values()) == DRAFT_TOKENS else found
        return found

    def _least(self, streams: int) -> float:
        """Minimum chance for one more token per stream to pay, which needs no extra pass."""
        return MARGIN * self.cost.estimate(1, 2 * streams) / self.cost.estimate(1, streams) - 1

    def gain(self, chances: dict[int, list[float]], lengths: dict[int, int], price: Price = free) -> float:
        """Expected tokens per millisecond."""
        tokens = sum(1 + sum(each[: lengths[stream]]) for stream, each in chances.items())
        rows = {stream: 1 + length for stream, length in lengths.items()}
        return tokens / (self.cost.estimate(passes(rows), sum(rows.values())) + price(lengths))


def _above(floor: float, chances: dict[int, list[float]], room: int) -> dict[int, int]:
    """Stream -> number of its tokens with at least that chance; `room` is shared equally."""
    lengths = {stream: sum(chance >= floor for chance in each) for stream, each in chances.items()}
    share = room // max(sum(length > 0 for length in lengths.values()), 1)
    return {stream: min(length, share) for stream, length in lengths.items()}
