"""Decides whether to ask the draft model, for which sequences, and for how many tokens.

It knows the accuracy of the draft model's tokens and the time of its calls, and reads no clock. The drafts come from
draft_model.py; how many of them the main model computes is up to drafts/speculation.py.
"""

from typing import NamedTuple

from llmctld.engine.core.draft_model import DraftModel, DraftRequest, Proposal
from llmctld.engine.cost.step_cost import StepCost
from llmctld.engine.drafts.speculation import DRAFT_TOKENS, Offer, Speculation
from llmctld.engine.streams.sequence import Sequence

WEIGHT = 3.0
"""Weight of the prior in tokens: in a new text, the accuracy in other texts."""
MEMORY = 0.96
"""Weight of earlier tokens at each new one: about the last 25 count."""
ANSWER = 128
"""Expected remaining tokens, over which the cost of reading a prompt is spread."""
TRY_TOKENS = 7
TRY_SHARE, TRY_AFTER = 0.02, 32
"""While the draft model does not pay, it is asked for TRY_TOKENS tokens if that costs at most TRY_SHARE of the time since the
last trial, and at most every TRY_AFTER steps. Texts and step costs change, and such a small share is not noticed. A sequence that
costs more than that share to catch up with is tried only at its beginning."""


KEPT, DOUBT = 0.9, 8.0
"""Weight of earlier steps in the realised gain, and weight of the prior in tokens."""


class Rates(NamedTuple):
    """Of the tokens asked for while all before them were right: the share proposed, and the share proposed rightly. `trust`:
    right tokens per promised one, by the draft model's own likelihoods."""

    right: float
    said: float
    trust: float


EXPECTED = Rates(0.6, 0.8, 0.9)
"""Prior for a draft model without any history."""


class Accuracy:
    """Accuracy of the draft model, in one text or in all texts."""

    def __init__(self, everywhere: "Accuracy | None" = None) -> None:
        self._everywhere = everywhere
        self._asked = self._said = self._promised = self._right = 0.0
        self._told: list[tuple[int | None, float]] = []
        self._at = 0

    @property
    def rates(self) -> Rates:
        before = self._everywhere.rates if self._everywhere else EXPECTED
        asked = self._asked + WEIGHT
        return Rates(
            (self._right + WEIGHT * before.right) / asked,
            (self._said + WEIGHT * before.said) / asked,
            (self._right + WEIGHT * before.trust) / (self._promised + WEIGHT),
        )

    def note(self, at: int, proposal: Proposal) -> None:
        """Record a proposal for what follows the first `at` tokens. None stands where the draft model was in doubt."""
        self._told = [*zip(proposal.tokens, proposal.sure, strict=True), *([(None, 0.0)] if proposal.doubted else [])]
        self._at = at

    def read(self, tokens: list[int]) -> None:
        """Compare the proposal with the tokens that came, drafted or not; the first wrong one ends it."""
        while self._told and self._at < len(tokens):
            (token, sure), *self._told = self._told
            right = token == tokens[self._at]
            self._learn(token is not None, sure, right)
            self._at += 1
            if not right:
                self._told = []

    def _learn(self, said: bool, sure: float, right: bool) -> None:
        self._asked = self._asked * MEMORY + 1
        self._said = self._said * MEMORY + said
        self._promised = self._promised * MEMORY + sure
        self._right = self._right * MEMORY + right
        if self._everywhere:
            self._everywhere._learn(said, sure, right)

    def halve(self) -> None:
        """Halve the weight of the history, so that a few right tokens are enough to ask again."""
        self._asked, self._said, self._promised, self._right = (
            each / 2 for each in (self._asked, self._said, self._promised, self._right)
        )

    def chances(self, count: int) -> list[float]:
        """Before asking: for each of `count` tokens, the chance that it and all before it are proposed rightly."""
        right = self.rates.right
        return [right**at for at in range(1, count + 1)]

    def offer(self, proposal: Proposal) -> Offer:
        """The proposal with chances from its own likelihoods, corrected by `trust`."""
        chance, chances, trust = 1.0, [], self.rates.trust
        for sure in proposal.sure:
            chance *= min(sure * trust, 1.0)
            chances.append(chance)
        return Offer(proposal.tokens, chances)


class Prospect(NamedTuple):
    """Expected benefit and cost of asking for one sequence. `left`: expected remaining tokens."""

    chances: list[float]
    said: float
    behind: int
    left: int


class Bet(NamedTuple):
    """A step with drafts of the draft model: lengths of the sequences, expected tokens per millisecond, total milliseconds of all
    steps before it, and of its drafts."""

    lengths: dict[int, int]
    gain: float
    spent_ms: float
    draft_ms: float


class RealisedGain:
    """Realised against expected gain of steps with drafts of the draft model: step cost is fitted by a line, which the machine
    need not follow."""

    def __init__(self) -> None:
        self._bet: Bet | None = None
        self._hoped = self._came = 0.0

    @property
    def share(self) -> float:
        return min(1.0, (self._came + DOUBT) / (self._hoped + DOUBT))

    def bet(self, bet: Bet) -> None:
        self._bet = bet

    def settle(self, lengths: dict[int, int], spent_ms: float) -> None:
        """Settle the bet at the next step. If other sequences run now, its result cannot be told apart and is dropped."""
        bet, self._bet = self._bet, None
        if bet is not None and bet.lengths.keys() == lengths.keys():
            ms = spent_ms - bet.spent_ms + bet.draft_ms
            self._hoped = self._hoped * KEPT + bet.gain * ms
            self._came = self._came * KEPT + sum(lengths.values()) - sum(bet.lengths.values())

    def halve(self) -> None:
        """Halve the weight of the history."""
        self._hoped, self._came = self._hoped / 2, self._came / 2


class DraftPolicy:
    """Finds the drafts of each step: by lookup in the text, or from the draft model, whichever is better."""

    def __init__(self, model: DraftModel | None = None) -> None:
        self._model = model
        self._cost = StepCost()
        self._everywhere = Accuracy()
        self._accuracy: dict[int, Accuracy] = {}
        self._asked_ms = 0.0
        self._realised = RealisedGain()

    def drafts(self, running: dict[int, Sequence], room: int, speculation: Speculation) -> dict[int, list[int]]:
        """Stream -> drafted tokens that the main model computes, for all running sequences (by stream)."""
        if all(sequence.drafts is None for sequence in running.values()):
            return {}
        offers = {stream: sequence.offer() for stream, sequence in running.items()}
        able = {stream: sequence for stream, sequence in running.items() if sequence.drafts is not None}
        if self._model is None or not able:
            return speculation.drafts(offers, room)
        self._meet(self._model, able)
        lengths = {sequence.id: len(sequence.tokens) for sequence in able.values()}
        self._realised.settle(lengths, speculation.spent_ms)
        asked, gain = self._worth(self._model, able, offers, room, speculation)
        asked = asked or self._trial(self._model, able, speculation)
        if not asked:
            return speculation.drafts(offers, room)
        # the very first draft is computed in full, to measure the cost of a wide step
        first = None if self._cost.known else next(iter(asked))
        said, ms = self._ask(self._model, able, asked)
        self._asked_ms = speculation.spent_ms
        if gain:
            self._realised.bet(Bet(lengths, gain, speculation.spent_ms, ms))
        better = {stream: offer for stream, offer in said.items() if sum(offer.chances) > sum(offers[stream].chances)}
        return speculation.drafts(offers | better, room, first)

    def _meet(self, model: DraftModel, able: dict[int, Sequence]) -> None:
        """Forget sequences that ended; compare the proposals for the others with what came."""
        model.seat({sequence.id: sequence.tokens for sequence in able.values()})
        ids = [sequence.id for sequence in able.values()]
        self._accuracy = {id: self._accuracy.get(id) or Accuracy(self._everywhere) for id in ids}
        for sequence in able.values():
            self._accuracy[sequence.id].read(sequence.tokens)

    def _worth(
        self,
        model: DraftModel,
        able: dict[int, Sequence],
        offers: dict[int, Offer],
        room: int,
        speculation: Speculation,
    ) -> tuple[dict[int, int], float]:
        """Stream -> number of tokens to ask for, if that beats the lookup; and the expected tokens per millisecond."""
        if not (self._cost.known and speculation.cost.known):
            return {}, 0.0
        offered = {stream: offer.chances for stream, offer in offers.items()}
        prospects = {stream: self._prospect(model, sequence) for stream, sequence in able.items()}
        asked = {
            stream: prospect for stream, prospect in prospects.items() if sum(prospect.chances) > sum(offered[stream])
        }

        def price(lengths: dict[int, int]) -> float:
            return self._price([(prospect, lengths[stream]) for stream, prospect in asked.items() if lengths[stream]])

        hoped = offered | {stream: prospect.chances for stream, prospect in asked.items()}
        lengths = speculation.lengths(hoped, room, price)
        plain = speculation.gain(offered, speculation.lengths(offered, room))
        gain = speculation.gain(hoped, lengths, price)
        if gain * self._realised.share <= plain:
            return {}, 0.0
        return {stream: lengths[stream] for stream in asked if lengths[stream]}, gain

    def _prospect(self, model: DraftModel, sequence: Sequence) -> Prospect:
        accuracy = self._accuracy[sequence.id]
        chances = accuracy.chances(min(sequence.tokens_left - 1, DRAFT_TOKENS))
        behind = model.tokens_missing(sequence.id, len(sequence.tokens))
        return Prospect(chances, accuracy.rates.said, behind, min(sequence.tokens_left, ANSWER))

    def _price(self, asked: list[tuple[Prospect, int]]) -> float:
        """Milliseconds: one call per token of the longest draft, with a row for each sequence that is still sure; plus reading
        what is not computed yet, spread over the expected answer."""
        ms = 0.0
        for call in range(max((length for _, length in asked), default=0)):
            going = [prospect.said**call for prospect, length in asked if length > call]
            ms += self._cost.estimate(max(going), sum(going))
        for prospect, length in asked:
            share = min(1.0, (1 + sum(prospect.chances[:length])) / prospect.left)
            ms += self._cost.estimate(0, (prospect.behind - 1) * share)
        return ms

    def _trial(self, model: DraftModel, able: dict[int, Sequence], speculation: Speculation) -> dict[int, int]:
        """A few tokens for the cheapest sequence, if that costs little compared with the time since the last trial."""
        behind = {
            stream: model.tokens_missing(sequence.id, len(sequence.tokens))
            for stream, sequence in able.items()
            if sequence.tokens_left > 1
        }
        if not behind or not speculation.cost.known:
            return {}
        stream = min(behind, key=lambda stream: behind[stream])
        count = min(able[stream].tokens_left - 1, TRY_TOKENS)
        ms = self._cost.estimate(count, count + behind[stream] - 1)
        wait = max(ms / TRY_SHARE, TRY_AFTER * speculation.cost.estimate(1, 1))
        if self._cost.known and speculation.spent_ms - self._asked_ms < wait:
            return {}
        self._accuracy[able[stream].id].halve()
        self._realised.halve()
        return {stream: count}

    def _ask(
        self, model: DraftModel, able: dict[int, Sequence], asked: dict[int, int]
    ) -> tuple[dict[int, Offer], float]:
        """Stream -> offer, and the milliseconds it took."""
        said = model.propose(
            {able[stream].id: DraftRequest(able[stream].tokens, count) for stream, count in asked.items()}
        )
        for took in model.took:
            self._cost.learn(*took)
        ms = sum(took.ms for took in model.took)
        model.took.clear()
        offers: dict[int, Offer] = {}
        for stream in asked:
            accuracy, proposal = self._accuracy[able[stream].id], said[able[stream].id]
            accuracy.note(len(able[stream].tokens), proposal)
            offers[stream] = accuracy.offer(proposal)
        return offers, ms

    def check(self) -> None:
        """Verify the invariants of the draft model's streams."""
        if self._model is not None:
            self._model.check()
