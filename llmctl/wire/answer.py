"""The answer to a question, with its usage, timings and where it came from; the fields of `ask --json`.

It is data alone: the hub fills it in, the client prints it.
"""

from decimal import Decimal
from typing import Any

import msgspec

from llmctl.wire.message import Result


class TokenUsage(msgspec.Struct):
    """Tokens of one answer."""

    prompt_tokens: int = 0
    """tokens of the prompt, with the chat template applied"""
    cached_tokens: int = 0
    """tokens of the prompt that were reused"""
    completion_tokens: int = 0
    """sampled tokens, including the end token"""


class Timings(msgspec.Struct):
    """Time of one answer by phase, in milliseconds."""

    queue_ms: float = 0.0
    """waiting for a slot"""
    load_ms: float = 0.0
    """waiting for the model"""
    prefill_ms: float = 0.0
    """computing the prompt"""
    decode_ms: float = 0.0
    """generating"""
    total_ms: float = 0.0
    """from arrival at the hub to the answer"""
    tokens_per_second: float | None = None
    """generated per second of decoding"""
    drafted: int | None = None
    """tokens drafted by speculation; null if it was off"""
    accepted: int | None = None
    """drafted tokens that the model accepted"""


class CacheUse(msgspec.Struct):
    """Source of an answer."""

    hit: str | None = None
    """null, `memory`, `disk`, `shared`, `semantic` or `flight`"""
    key: str | None = None
    """32 hexadecimal digits: the key of the stored answer"""
    similarity: float | None = None
    """of a semantic hit: the cosine between the two questions"""
    age_s: float | None = None
    """seconds since the answer was stored"""


class CostParts(msgspec.Struct, omit_defaults=False):
    """The parts of a cost, which add up to it; null where there is no price."""

    tokens: Decimal | None = None
    """tokens at the price of tokens"""
    machine: Decimal | None = None
    """machine time or energy"""
    overhead: Decimal | None = None
    """share added for what else the machine costs"""


class Cost(msgspec.Struct, omit_defaults=False):
    """What an answer costs. Amounts are decimal numbers with at most twelve places, as text in a message."""

    amount: Decimal | None = None
    """sum of the parts; null if the model has no price, 0 if nothing was computed for this request"""
    currency: str = "USD"
    """as in `money.currency`"""
    priced: bool = False
    """whether the model has a price"""
    parts: CostParts = msgspec.field(default_factory=CostParts)
    """what the sum consists of"""
    reserved: Decimal | None = None
    """upper bound that was reserved before the answer was computed; null without a budget"""
    saved: Decimal | None = None
    """what computing a stored or joined answer would have cost; null if the model has no price, or if it was computed"""


class Likely(msgspec.Struct):
    """A likely token at one place of an answer."""

    token: str
    """text of the token"""
    logprob: float
    """its natural log-probability"""


class Sampled(msgspec.Struct):
    """A token of an answer.

    Log-probabilities are natural ones, in the model's own distribution: before any bias, penalty, temperature or grammar.
    """

    token: str
    """text of the token; an end token by its name, a partial character as U+FFFD"""
    logprob: float
    """log-probability of the sampled token"""
    top: list[Likely]
    """the most likely tokens at this place, best first"""


class Explained(msgspec.Struct, omit_defaults=False):
    """A finding of one stage about a request."""

    stage: str
    """name of the stage"""
    text: str
    """the finding in words"""
    similarity: float | None = None
    """similarity of the stored question that was compared"""
    refused: str | None = None
    """guard that refused the stored question"""


class Answer(Result, kw_only=True, tag="answer", omit_defaults=False):
    """One answer, with the fields of the last line of `ask --json`; every field is sent."""

    id: str
    """the request's id in hexadecimal, as in the log and the history"""
    index: int = 0
    """number of the sample, from 0"""
    model: str = ""
    """the model that answered"""
    text: str = ""
    """the answer"""
    reasoning: str | None = None
    """the model's reasoning before the answer"""
    value: Any = None
    """`text` as JSON, if there is a schema; a whole number beyond 64 bits is a msgpack extension of type 1 with its decimal
    digits"""
    conversation: str | None = None
    """name of the conversation"""
    finish_reason: str = "stop"
    """`stop`, `length`, `cancelled`, `timeout`, or `error` inside `failed`"""
    user: str = ""
    """as in the request"""
    usage: TokenUsage
    timings: Timings
    cache: CacheUse
    cost: Cost | None = None
    """what it costs"""
    route: Any = None
    """reserved, null"""
    batched: bool | None = None
    """whether rounding may have changed a greedy token, because of other requests or reused KV memory; null: not computed for
    this request"""
    logprobs: list[Sampled] | None = None
    """one per sampled token, if requested"""
    explain: list[Explained] | None = None
    """findings of each stage, in order, if requested"""


class Answers(Result, kw_only=True, tag="answers", omit_defaults=False):
    """The samples of one request."""

    answers: list[Answer]
    """answers by `index`; all have the request's id"""
