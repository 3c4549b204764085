"""Messages about stored answers: list, show, clear, warm, and the reports of the cache and of its semantic part."""

from typing import Any, ClassVar

import msgspec

from llmctl.wire.answer import TokenUsage
from llmctl.wire.generate import Generate
from llmctl.wire.message import Plain, Result


class GetCacheStats(Plain, kw_only=True, tag="cache_stats"):
    """-> `cache_stats_result`"""


class ListCache(Plain, kw_only=True, tag="list_cache"):
    """Lists stored answers of every user, without their texts, oldest first. -> `cache_entries`

    An entry matches every field given.
    """

    model: str | None = None
    """of this model only"""
    user: str | None = None
    """computed for this user"""
    tags: list[str] = []
    """with all of these tags"""
    older: float | None = None
    """at least so many seconds old"""
    newer: float | None = None
    """at most so many seconds old"""
    after: int = 0
    """number of the last entry that is known already"""
    limit: int = 1000
    """most entries, 1 to 10,000; an empty reply is the end"""


class ShowCache(Plain, kw_only=True, tag="show_cache"):
    """Shows one stored answer whole. -> `cache_shown`; `not_found` when nothing is stored under the key"""

    key: str
    """or its beginning, where no other key begins so"""


class ClearCache(Plain, kw_only=True, tag="clear_cache"):
    """Removes the stored answers that match every field given.

    With no field given it removes all, also those that other hubs put on a shared server.
    -> `cleared`; `storage` when a level fails: what it holds is not served, and removed when it works again
    """

    model: str | None = None
    """of this model only"""
    user: str | None = None
    """computed for this user"""
    tags: list[str] = []
    """with all of these tags"""
    older: float | None = None
    """at least so many seconds old"""
    newer: float | None = None
    """at most so many seconds old"""


class Warm(Plain, kw_only=True, tag="warm"):
    """Makes sure that an answer is stored: leaves a stored one alone, else computes it, or stores the given one. -> `warmed`

    It creates no conversation, and its look-up counts as neither hit nor miss.
    """

    is_work: ClassVar[bool] = True
    delays_background: ClassVar[bool] = True

    request: Generate
    """in no conversation; its `cache` is `auto`, `store` or `refresh`; its answer must be one that is stored"""
    text: str | None = None
    """the answer, where the client has it: checked like a computed one, and nothing is computed"""

    @property
    def subject(self) -> str | None:
        return self.request.model


class AuditCache(Plain, kw_only=True, tag="audit_cache"):
    """Reports how often the semantic cache answers, and how often wrongly. -> `cache_audit`"""


class UndoHit(Plain, kw_only=True, tag="undo_hit"):
    """Takes back a semantic hit: its stored question answers no other any more, and the decision learns from it.

    -> `hit_undone`; `not_found`
    """

    id: str | None = None
    """of the request that was answered so, or how it begins; null: this user's last"""
    user: str = ""
    """whose last one"""


class LevelStats(msgspec.Struct):
    """One level of the cache since the hub's start."""

    level: str
    """`memory`, `disk` or `shared`"""
    hits: int = 0
    misses: int = 0
    errors: int = 0
    """reads and writes that failed"""
    entries: int = 0
    """answers stored now"""
    bytes: int = 0
    """their size"""
    p50_ms: float | None = None
    """median time of a look-up"""
    state: str = "ok"
    """`ok`, or `failing`: passed over until it works again"""
    error: str | None = None
    """why it fails"""


class PrefetchStats(msgspec.Struct):
    """Results of computing answers beforehand, since the database was created."""

    level: str = "prefetch"
    """so that a line says what it is"""
    state: str = "on"
    """`on` or `stopped`"""
    reason: str | None = None
    """why nothing is computed beforehand now, and when it goes on"""
    prefetched: int = 0
    """answers that were computed beforehand, wholly or in part"""
    used: int = 0
    """requested in time, and served"""
    wasted: int = 0
    """not requested in time, or given up to make room for a user"""
    waiting: int = 0
    """neither yet"""
    gain_s: float = 0.0
    """seconds that users did not wait"""
    waste_s: float = 0.0
    """seconds computed for nothing"""
    budget_left: int = 0
    """how many more may be computed this hour"""
    busy: bool = False
    """something is computed beforehand, or about to be"""


class CacheStats(Result, kw_only=True, tag="cache_stats_result", omit_defaults=False):
    """The lines of `cache stats --json`."""

    levels: list[LevelStats]
    """fastest first"""
    requests: int = 0
    """requests that asked the cache"""
    hit_rate: float = 0.0
    """0..1"""
    joined: int = 0
    """requests that joined an equal one in flight"""
    saved_s: float = 0.0
    """seconds of computing that stored answers saved"""
    saved_cost: float | None = None
    """reserved, null"""
    prefetch: PrefetchStats | None = None
    """null where nothing is computed beforehand"""


class CacheEntry(msgspec.Struct):
    """What is known of a stored answer. Times are seconds since 1970."""

    number: int
    """its place in the list"""
    key: str
    model: str
    user: str
    """for whom it was computed"""
    tags: list[str]
    conversation: str | None
    created: float
    expires: float
    bytes: int
    seconds: float
    """what computing it took"""
    hits: int
    last_hit: float | None
    prompt: str
    """the first words of the question"""


class CacheEntries(Result, kw_only=True, tag="cache_entries", omit_defaults=False):
    """The lines of `cache ls --json`."""

    entries: list[CacheEntry]


class LevelShown(msgspec.Struct):
    """A level that holds an entry."""

    level: str
    bytes: int
    left_s: float
    """seconds until it expires there"""


class CacheShown(Result, kw_only=True, tag="cache_shown", omit_defaults=False):
    """The line of `cache show --json`, in parts."""

    entry: CacheEntry
    levels: list[LevelShown]
    """those that hold it"""
    text: str
    reasoning: str | None
    finish_reason: str
    usage: TokenUsage
    samples: list[str]
    """the other answers, where several were asked for"""
    more: dict[str, dict[str, Any]]
    """what other parts of the hub know of it: name -> field -> value"""


class Cleared(Result, kw_only=True, tag="cleared", omit_defaults=False):
    """How much was removed."""

    entries: int
    """answers"""


class Warmed(Result, kw_only=True, tag="warmed", omit_defaults=False):
    """The outcome of a `warm`."""

    key: str
    """under which the answer is stored"""
    model: str
    """its name"""
    outcome: str
    """`stored`: it was there; `generated`; `given`"""
    seconds: float = 0.0
    """what computing it took"""


class SemanticAudit(msgspec.Struct, kw_only=True, omit_defaults=False):
    """What is known of semantic hits, over restarts. Rates are shares of all requests that could have been
    answered so."""

    requests: int
    """requests that accept semantic answers"""
    hits: int
    """requests that were answered so"""
    hit_rate: float
    """0..1"""
    wrong_rate: float | None
    """0..1; null until a pair is verified"""
    wrong_rate_upper: float | None
    """the upper end of its 95 % interval"""
    max_error: float
    """the bound that was set"""
    pairs: int
    """verified pairs that the rates rest on"""
    judge: str
    """which model compares answers that differ in words: a model, `none`, or `not used` after it failed its test"""
    explored: int = 0
    """requests that were computed, to learn, although they could have been answered"""
    verified: int = 0
    """hits that were computed once more"""
    judged: int = 0
    """questions put to judges"""
    undone: int = 0
    """hits that users took back"""


class CacheAudit(Result, kw_only=True, tag="cache_audit", omit_defaults=False):
    """The report of `cache audit`."""

    semantic: SemanticAudit


class ServedTo(msgspec.Struct, omit_defaults=False):
    """A request that was answered with the stored answer to another question."""

    id: str
    """of the request"""
    user: str
    """who asked"""
    at: float
    """seconds since 1970"""
    prompt: str | None
    """the question"""


class HitUndone(Result, kw_only=True, tag="hit_undone", omit_defaults=False):
    """The semantic hit that was taken back."""

    id: str
    """of the request whose answer was taken back"""
    key: str
    """of the stored answer, which stays for its own question"""
    question: str | None
    """that the answer was computed for; null where it had left the index already"""
    served: list[ServedTo]
    """every request that was answered so, newest first"""
