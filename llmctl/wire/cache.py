"""Messages about stored answers: list, show, clear, warm, and the reports of the cache and of its semantic part."""

from typing import Any, ClassVar

import msgspec

from llmctl.wire.answer import TokenUsage
from llmctl.wire.generate import Generate
from llmctl.wire.message import Plain, Result


class GetCacheStats(Plain, kw_only=True, tag="cache_stats"):
    """-> `cache_stats_result`"""


class ListCache(Plain, kw_only=True, tag="list_cache"):
    """Lists stored answers of all users, without their texts, oldest first. -> `cache_entries`

    An entry must match every field given.
    """

    model: str | None = None
    """only answers of this model"""
    user: str | None = None
    """only answers computed for this user"""
    tags: list[str] = []
    """only answers with all of these tags"""
    older: float | None = None
    """minimum age in seconds"""
    newer: float | None = None
    """maximum age in seconds"""
    after: int = 0
    """`number` of the last entry already received"""
    limit: int = 1000
    """maximum number of entries, 1 to 10,000; an empty reply is the end of the list"""


class ShowCache(Plain, kw_only=True, tag="show_cache"):
    """Shows one stored answer. -> `cache_shown`; `not_found` if there is none"""

    key: str
    """the key, or a prefix that only one key has"""


class ClearCache(Plain, kw_only=True, tag="clear_cache"):
    """Removes the stored answers that match every field given.

    Without fields it removes all of them, including those of other hubs on a shared server. -> `cleared`; `storage` if a level
    fails: its answers are no longer served, and are removed when the level works again
    """

    model: str | None = None
    """only answers of this model"""
    user: str | None = None
    """only answers computed for this user"""
    tags: list[str] = []
    """only answers with all of these tags"""
    older: float | None = None
    """minimum age in seconds"""
    newer: float | None = None
    """maximum age in seconds"""


class Warm(Plain, kw_only=True, tag="warm"):
    """Stores an answer unless it is stored already: computes it, or takes the given one. -> `warmed`

    It creates no conversation, and counts as neither a hit nor a miss of the cache.
    """

    is_work: ClassVar[bool] = True
    delays_background: ClassVar[bool] = True

    request: Generate
    """without a conversation, with `cache` `auto`, `store` or `refresh`; its answer must be one that is stored"""
    text: str | None = None
    """the answer, if the client has it; it is checked like a computed one"""

    @property
    def subject(self) -> str | None:
        return self.request.model


class AuditCache(Plain, kw_only=True, tag="audit_cache"):
    """Reports how often the semantic cache answers, and how often wrongly. -> `cache_audit`"""


class UndoHit(Plain, kw_only=True, tag="undo_hit"):
    """Rejects a semantic hit: the answer is not served to similar questions again, and later decisions learn from the mistake.

    -> `hit_undone`; `not_found`
    """

    id: str | None = None
    """id of the request that got the answer, or a prefix of it; null: this user's last semantic hit"""
    user: str = ""
    """user whose last semantic hit is rejected"""


class LevelStats(msgspec.Struct):
    """One level of the cache since the hub's start."""

    level: str
    """`memory`, `disk`, `shared` or `semantic`"""
    hits: int = 0
    misses: int = 0
    errors: int = 0
    """reads and writes that failed"""
    entries: int = 0
    """answers stored now"""
    bytes: int = 0
    """size of the stored answers"""
    p50_ms: float | None = None
    """median time of a look-up"""
    state: str = "ok"
    """`ok`, or `failing`: skipped until it works again"""
    error: str | None = None
    """why it fails"""


class PrefetchStats(msgspec.Struct):
    """Results of prefetch since the database was created."""

    level: str = "prefetch"
    """marks the line as that of prefetch"""
    state: str = "on"
    """`on` or `stopped`"""
    reason: str | None = None
    """why prefetch is stopped, and when it resumes"""
    prefetched: int = 0
    """answers computed in advance, completely or partly"""
    used: int = 0
    """requested in time and served"""
    wasted: int = 0
    """not requested in time, or aborted for a user's request"""
    waiting: int = 0
    """not requested yet"""
    gain_s: float = 0.0
    """seconds saved for users"""
    waste_s: float = 0.0
    """seconds of computing wasted"""
    budget_left: int = 0
    """computations still allowed this hour"""
    busy: bool = False
    """an answer is being computed, or is about to be"""


class CacheStats(Result, kw_only=True, tag="cache_stats_result", omit_defaults=False):
    """The lines of `cache stats --json`."""

    levels: list[LevelStats]
    """the levels, fastest first"""
    requests: int = 0
    """requests that looked up the cache"""
    hit_rate: float = 0.0
    """0..1"""
    joined: int = 0
    """requests that joined an equal one in flight"""
    saved_s: float = 0.0
    """seconds of computing saved by stored answers"""
    saved_cost: float | None = None
    """reserved, null"""
    prefetch: PrefetchStats | None = None
    """null if prefetch is off"""


class CacheEntry(msgspec.Struct):
    """A stored answer. Times are seconds since 1970."""

    number: int
    """position in the list"""
    key: str
    model: str
    user: str
    """user for whom it was computed"""
    tags: list[str]
    conversation: str | None
    created: float
    expires: float
    bytes: int
    seconds: float
    """time of computing it"""
    hits: int
    last_hit: float | None
    prompt: str
    """the beginning of the question"""


class CacheEntries(Result, kw_only=True, tag="cache_entries", omit_defaults=False):
    """The lines of `cache ls --json`."""

    entries: list[CacheEntry]


class LevelShown(msgspec.Struct):
    """A level that holds a stored answer."""

    level: str
    bytes: int
    left_s: float
    """seconds until it expires on this level"""


class CacheShown(Result, kw_only=True, tag="cache_shown", omit_defaults=False):
    """The line of `cache show --json`, in parts."""

    entry: CacheEntry
    levels: list[LevelShown]
    """levels that hold the answer"""
    text: str
    reasoning: str | None
    finish_reason: str
    usage: TokenUsage
    samples: list[str]
    """the other answers, if several were requested"""
    more: dict[str, dict[str, Any]]
    """details from other parts of the hub: name -> field -> value"""


class Cleared(Result, kw_only=True, tag="cleared", omit_defaults=False):
    """Number of removed answers."""

    entries: int
    """answers removed"""


class Warmed(Result, kw_only=True, tag="warmed", omit_defaults=False):
    """The outcome of a `warm`."""

    key: str
    """key of the stored answer"""
    model: str
    """name of the model"""
    outcome: str
    """`stored`: it was stored already; `generated`; `given`"""
    seconds: float = 0.0
    """time of computing it"""


class SemanticAudit(msgspec.Struct, kw_only=True, omit_defaults=False):
    """Numbers of the semantic cache over all restarts. Rates are shares of all requests that accept semantic answers."""

    requests: int
    """requests that accept semantic answers"""
    hits: int
    """requests that got a semantic answer"""
    hit_rate: float
    """0..1"""
    wrong_rate: float | None
    """0..1; null until a pair has been verified"""
    wrong_rate_upper: float | None
    """the upper end of its 95 % interval"""
    max_error: float
    """the configured limit"""
    pairs: int
    """verified pairs behind the rates"""
    judge: str
    """the model that compares answers that differ in words; `none`; or `not used` if it failed its test"""
    explored: int = 0
    """requests that were computed in order to learn, although an answer could have been served"""
    verified: int = 0
    """hits that were computed again to verify them"""
    judged: int = 0
    """pairs compared by the judge"""
    undone: int = 0
    """hits rejected by users"""


class CacheAudit(Result, kw_only=True, tag="cache_audit", omit_defaults=False):
    """The report of `cache audit`."""

    semantic: SemanticAudit


class ServedTo(msgspec.Struct, omit_defaults=False):
    """A request that got the stored answer to another question."""

    id: str
    """id of the request"""
    user: str
    """user of the request"""
    at: float
    """seconds since 1970"""
    prompt: str | None
    """the question"""


class HitUndone(Result, kw_only=True, tag="hit_undone", omit_defaults=False):
    """The rejected semantic hit."""

    id: str
    """id of the request that got the answer"""
    key: str
    """key of the stored answer, which stays for its own question"""
    question: str | None
    """the question that the answer was computed for; null if it is no longer in the index"""
    served: list[ServedTo]
    """all requests that got this answer, newest first"""
