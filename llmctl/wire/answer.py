"""The answer to a question, with its usage, timings and where it came from; the fields of `ask --json`.

It is data alone: the hub fills it in, the client prints it.
"""

from typing import Any

import msgspec

from llmctl.wire.message import Result


class TokenUsage(msgspec.Struct):
    """Tokens of one answer."""

    prompt_tokens: int = 0
    """with the chat template applied"""
    cached_tokens: int = 0
    """of those, not computed again"""
    completion_tokens: int = 0
    """every token sampled, the end token too"""


class Timings(msgspec.Struct):
    """Where the time of one answer went, in milliseconds."""

    queue_ms: float = 0.0
    """waited for a slot"""
    load_ms: float = 0.0
    """waited for the model"""
    prefill_ms: float = 0.0
    """computing the prompt"""
    decode_ms: float = 0.0
    """generating"""
    total_ms: float = 0.0
    """from arrival to answer, in the hub"""
    tokens_per_second: float | None = None
    """generated per second of decoding"""
    drafted: int | None = None
    """tokens that speculation tried beside those sampled; null where it was off"""
    accepted: int | None = None
    """of those, the ones that the model agreed with: tokens without a step of their own"""


class CacheUse(msgspec.Struct):
    """Where an answer came from."""

    hit: str | None = None
    """null, `memory`, `disk`, `shared`, `semantic` or `flight`"""
    key: str | None = None
    """32 hexadecimal digits: the key under which the answer is stored"""
    similarity: float | None = None
    """the cosine between the two questions, of a semantic hit"""
    age_s: float | None = None
    """seconds since it was stored"""


class Likely(msgspec.Struct):
    """A likely token at one place of an answer."""

    token: str
    """its text"""
    logprob: float
    """its natural log-probability"""


class Sampled(msgspec.Struct):
    """A token of an answer.

    Log-probabilities are natural ones, in the model's own distribution: before any bias, penalty, temperature or grammar.
    """

    token: str
    """its text; an end token by its name, a part of a character as U+FFFD"""
    logprob: float
    """of the token that was sampled"""
    top: list[Likely]
    """the likeliest at its place, best first"""


class Explained(msgspec.Struct, omit_defaults=False):
    """What one stage found out about a request."""

    stage: str
    """its name"""
    text: str
    """in words"""
    similarity: float | None = None
    """of the stored question that was compared"""
    refused: str | None = None
    """the guard that refused that question"""


class Answer(Result, kw_only=True, tag="answer", omit_defaults=False):
    """One answer, with the fields of the last line of `ask --json`; every field is sent."""

    id: str
    """the request's id in hexadecimal, as in log and history"""
    index: int = 0
    """number of the sample, from 0"""
    model: str = ""
    """the model that answered"""
    text: str = ""
    """the answer"""
    reasoning: str | None = None
    """what a reasoning model thought before it"""
    value: Any = None
    """the parsed `text`, where there is a schema; a whole number beyond 64 bits is a msgpack extension of type
    1 with its decimal digits"""
    conversation: str | None = None
    """its name"""
    finish_reason: str = "stop"
    """`stop`, `length`, `cancelled`, `timeout`, or `error` inside `failed`"""
    user: str = ""
    """as in the request"""
    usage: TokenUsage
    timings: Timings
    cache: CacheUse
    cost: Any = None
    """reserved, null"""
    route: Any = None
    """reserved, null"""
    batched: bool | None = None
    """whether other requests, or what they left in the KV memory, may have changed a greedy token by rounding;
    null: not computed for this request"""
    logprobs: list[Sampled] | None = None
    """one for each token sampled, where they were asked for"""
    explain: list[Explained] | None = None
    """where it was asked for: what each stage found out, in that order"""


class Answers(Result, kw_only=True, tag="answers", omit_defaults=False):
    """The samples of one request."""

    answers: list[Answer]
    """by `index`; all have the request's id"""
