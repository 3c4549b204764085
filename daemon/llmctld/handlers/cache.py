"""Requests about stored answers: the figures of the cache, its entries, and the hits of the semantic cache."""

from llmctl import wire
from llmctl.errors import InvalidRequest, ModelUnavailable, NotFound, short
from llmctld.cache.entries.selection import EntryFilter
from llmctld.cache.levels.tiers import Tiers
from llmctld.cache.prefetch.prefetch import Prefetcher
from llmctld.handlers.hub import Hub, Tell
from llmctld.pipeline.reuse.semantic import NAME as SEMANTIC
from llmctld.pipeline.reuse.semantic import SemanticCache

MOST_ENTRIES = 10_000
"""Entries in one reply."""


async def cache_stats(hub: Hub, request: wire.GetCacheStats, tell: Tell) -> wire.CacheStats:
    return await figures(hub.tiers, hub.semantic, hub.prefetch)


async def figures(tiers: Tiers, semantic: SemanticCache, prefetch: Prefetcher | None) -> wire.CacheStats:
    """The figures of every level, the semantic cache and prefetch included."""
    stats = await tiers.report.stats()
    level = await semantic.knowledge.stats()
    if level is not None:
        stats.levels.append(level)
        stats.hit_rate = round(stats.hit_rate + level.hits / max(1, stats.requests), 4)
    stats.prefetch = None if prefetch is None else prefetch.stats()
    return stats


async def list_cache(hub: Hub, request: wire.ListCache, tell: Tell) -> wire.CacheEntries:
    if not 1 <= request.limit <= MOST_ENTRIES:
        raise InvalidRequest(f"limit is {request.limit}; it must be 1 to {MOST_ENTRIES}")
    selection = await _selection(hub, request)
    book = await hub.tiers.open_book()
    return wire.CacheEntries(entries=await book.entries(selection, request.after, request.limit))


async def show_cache(hub: Hub, request: wire.ShowCache, tell: Tell) -> wire.CacheShown:
    return await hub.tiers.report.show(await hub.tiers.open_book(), request.key)


async def clear_cache(hub: Hub, request: wire.ClearCache, tell: Tell) -> wire.Cleared:
    selection = await _selection(hub, request)
    try:
        removed = await hub.tiers.clear(selection)  # first: on a full disk, forgetting needs the room that this makes
    finally:
        if hub.prefetch is not None:
            await hub.prefetch.forget(selection)
    return wire.Cleared(entries=removed)


async def _selection(hub: Hub, request: wire.ListCache | wire.ClearCache) -> EntryFilter:
    """Raises ModelUnavailable for a model that is not known and has no stored answers."""
    model = request.model
    if model is not None:
        try:
            model = hub.catalog.find(model).name
        except ModelUnavailable:
            if hub.tiers.book is None or model not in await hub.tiers.book.models():
                raise
    return EntryFilter(model, request.user, request.tags, request.older, request.newer)


async def audit_cache(hub: Hub, request: wire.AuditCache, tell: Tell) -> wire.CacheAudit:
    return await hub.semantic.audit()


async def undo_hit(hub: Hub, request: wire.UndoHit, tell: Tell) -> wire.HitUndone:
    if request.id == "":
        raise InvalidRequest("the id is empty", "Omit it to reject your last one.")
    found = await hub.history.hits(SEMANTIC, request.user, request.id)
    if request.id is None:
        undone = await hub.semantic.knowledge.undone()
        found = [(id_, key) for id_, key in found if key not in undone]
    if not found:
        raise _no_hit(request)
    id_, key = found[0]
    question = await hub.semantic.knowledge.take_back(id_, key)
    served = [wire.ServedTo(*row) for row in await hub.history.served(SEMANTIC, key)]
    return wire.HitUndone(id=id_, key=key, question=question, served=served)


def _no_hit(request: wire.UndoHit) -> NotFound:
    whose = f"no request whose id begins with {short(request.id)}" if request.id else f"no request of {request.user}"
    message = f"{whose} has an answer from the semantic cache that can be rejected"
    return NotFound(message, '`llmctl ask --json` prints the id, and `"hit":"semantic"` for such an answer.')
