"""One async generator per message type, in a table; each says in a few lines which room answers.

A handler yields any number of Delta, Notice and Progress, then exactly one Done, or raises.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from llmctl import __version__, wire
from llmctl.config import ModelEntry
from llmctl.errors import InvalidRequest, ModelUnavailable, NotFound, Storage, short
from llmctld.cache.entries.selection import Which
from llmctld.cache.levels.tiers import Tiers
from llmctld.cache.prefetch.prefetch import Prefetch
from llmctld.call import Call, Stage
from llmctld.history import History
from llmctld.models.catalogue.address import is_open
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.memory.estimate import Estimates
from llmctld.models.pull.pull import Puller
from llmctld.models.running.residency import Residency
from llmctld.pipeline.background import Background
from llmctld.pipeline.embed import Embedding
from llmctld.pipeline.semantic import NAME as SEMANTIC
from llmctld.pipeline.semantic import Semantic


@dataclass
class Hub:
    """What handlers need, built by app.py. `in_flight` and `stop` are the server's."""

    socket: str
    pipeline: Stage
    embedding: Embedding
    catalog: Catalog
    residency: Residency
    tiers: Tiers
    history: History
    puller: Puller
    estimates: Estimates
    background: Background
    semantic: Semantic
    prefetch: Prefetch | None = None
    in_flight: Callable[[], int] = lambda: 0
    stop: Callable[[float], Awaitable[list[str]]] | None = None
    started: float = field(default_factory=time.monotonic)


ROOM = "`llmctl cache stats` shows the levels; `cache.memory_bytes` and `cache.disk_bytes` are their sizes."
LISTED = 10_000
"""Entries in one reply, at most."""

Handler = Callable[[Hub, Call | None, Any], AsyncGenerator[wire.Reply, None]]
Replies = AsyncGenerator[wire.Reply, None]


async def generate(hub: Hub, call: Call | None, request: wire.Generate) -> Replies:
    assert call is not None
    async with aclosing(hub.pipeline(call)) as events:
        async for event in events:
            yield wire.Done(result=event) if isinstance(event, wire.Answer | wire.Answers) else event


async def warm(hub: Hub, call: Call | None, request: wire.Warm) -> Replies:
    assert call is not None
    async with aclosing(hub.pipeline(call)) as events:
        async for event in events:
            if isinstance(event, wire.Answer | wire.Answers):
                if call.hit != "stored" and not call.work.stored:
                    raise Storage("the answer was not stored: no level of the cache took it", ROOM)
                yield wire.Done(result=_warmed(call, event))
            elif isinstance(event, wire.Notice):
                yield event


def _warmed(call: Call, result: wire.Answer | wire.Answers) -> wire.Warmed:
    answers = [result] if isinstance(result, wire.Answer) else result.answers
    outcome = "stored" if call.hit else "generated" if call.given is None else "given"
    spent = 0.0 if call.hit else sum(it.timings.prefill_ms + it.timings.decode_ms for it in answers)
    return wire.Warmed(key=call.key or "", model=call.entry.name, outcome=outcome, seconds=round(spent / 1e3, 3))


async def embed(hub: Hub, call: Call | None, request: wire.Embed) -> Replies:
    hub.background.give_way()
    async with aclosing(hub.embedding(request)) as events:
        async for event in events:
            yield wire.Done(result=event) if isinstance(event, wire.Embeddings) else event


async def status(hub: Hub, call: Call | None, request: wire.Status) -> Replies:
    yield wire.Done(
        result=wire.HubStatus(
            state="running", pid=os.getpid(), version=__version__, protocol=wire.PROTOCOL,
            uptime_s=round(time.monotonic() - hub.started, 3), socket=hub.socket, models=hub.residency.names,
            requests_in_flight=hub.in_flight(),
        )
    )  # fmt: skip


async def ps(hub: Hub, call: Call | None, request: wire.Ps) -> Replies:
    yield wire.Done(result=wire.Engines(engines=hub.residency.statuses()))


async def stop(hub: Hub, call: Call | None, request: wire.Stop) -> Replies:
    assert hub.stop is not None
    if not request.timeout >= 0:
        raise InvalidRequest(f"timeout is {request.timeout}; it must be 0 seconds or more")
    yield wire.Done(result=wire.Stopped(cancelled=await hub.stop(request.timeout)))


async def add_model(hub: Hub, call: Call | None, request: wire.AddModel) -> Replies:
    entry = hub.catalog.add(
        request.name, request.target, request.aliases, request.settings, request.force, kind=request.kind
    )
    if entry.settings.get("api_key_env") and is_open(entry.target):
        yield wire.Notice(
            text=f"the key of {entry.name} travels in plain sight: {entry.target} is http and leads elsewhere"
        )
    yield wire.Done(result=_model(entry))


def _model(entry: ModelEntry) -> wire.Model:
    return wire.Model(
        name=entry.name, target=entry.target, backend=entry.backend, kind=entry.kind, aliases=entry.aliases,
        settings=entry.settings,
    )  # fmt: skip


async def pull_model(hub: Hub, call: Call | None, request: wire.PullModel) -> Replies:
    async with aclosing(hub.puller.pull(request)) as events:
        async for event in events:
            yield wire.Done(result=_model(event)) if isinstance(event, ModelEntry) else event


async def estimate_model(hub: Hub, call: Call | None, request: wire.EstimateModel) -> Replies:
    entry, settings = hub.catalog.resolve(request.target, request.settings)
    yield wire.Done(result=await asyncio.to_thread(hub.estimates.tell, entry, settings))


async def remove_model(hub: Hub, call: Call | None, request: wire.RemoveModel) -> Replies:
    entry = hub.catalog.find(request.name)
    if hub.residency.holds(entry.name):
        await hub.residency.unload(entry.name)
    files = hub.puller.files(entry)
    hub.catalog.remove(entry.name)
    hub.residency.forget(entry.name)
    await asyncio.to_thread(hub.puller.delete, files)
    yield wire.Done(result=wire.Nothing())


async def load_model(hub: Hub, call: Call | None, request: wire.LoadModel) -> Replies:
    entry = hub.catalog.find(request.name)
    hub.residency.retry(entry)
    if not hub.residency.is_loaded(entry):
        yield wire.Notice(text=hub.residency.outlook(entry))
    worker = await hub.residency.load(entry, request.replicas)
    for notice in worker.loaded.notices if worker.loaded else []:
        yield wire.Notice(text=notice)
    yield wire.Done(result=_engines(hub, entry.name))


def _engines(hub: Hub, name: str) -> wire.Engines:
    return wire.Engines(engines=[line for line in hub.residency.statuses() if line.name == name])


async def pin_model(hub: Hub, call: Call | None, request: wire.PinModel) -> Replies:
    entry = hub.catalog.check_pin(request.name, request.pinned)
    if request.pinned:
        if not hub.residency.is_loaded(entry):
            yield wire.Notice(text=hub.residency.outlook(entry))
        await hub.residency.load(entry)  # first: whoever gave up, or could not have it, has not pinned it
    await hub.residency.pin(hub.catalog.pin(request.name, request.pinned))
    yield wire.Done(result=_engines(hub, entry.name))


async def unload_model(hub: Hub, call: Call | None, request: wire.UnloadModel) -> Replies:
    removed = hub.residency.holds(request.name)  # it may be loaded still, for who had waited for it
    name = request.name if removed else hub.catalog.find(request.name).name
    if serves := hub.residency.leases(name):
        yield wire.Notice(text=f"{name} is unloaded when it has answered what it has: {serves} of them")
    await hub.residency.unload(name)
    yield wire.Done(result=wire.Nothing())


async def cache_stats(hub: Hub, call: Call | None, request: wire.GetCacheStats) -> Replies:
    yield wire.Done(result=await figures(hub))


async def figures(hub: Hub) -> wire.CacheStats:
    """Of everything that a request may be answered from without being computed."""
    stats = await hub.tiers.stats()
    semantic = await hub.semantic.knowledge.stats()
    if semantic is not None:
        stats.levels.append(semantic)
        stats.hit_rate = round(stats.hit_rate + semantic.hits / max(1, stats.requests), 4)
    stats.prefetch = None if hub.prefetch is None else hub.prefetch.stats()
    return stats


async def list_cache(hub: Hub, call: Call | None, request: wire.ListCache) -> Replies:
    if not 1 <= request.limit <= LISTED:
        raise InvalidRequest(f"limit is {request.limit}; it must be 1 to {LISTED}")
    which = await _which(hub, request)
    book = await hub.tiers.reopened()
    yield wire.Done(result=wire.CacheEntries(entries=await book.entries(which, request.after, request.limit)))


async def show_cache(hub: Hub, call: Call | None, request: wire.ShowCache) -> Replies:
    yield wire.Done(result=await hub.tiers.show(request.key))


async def clear_cache(hub: Hub, call: Call | None, request: wire.ClearCache) -> Replies:
    which = await _which(hub, request)
    try:
        removed = await hub.tiers.clear(which)  # first: on a full disk it makes the room that forgetting takes
    finally:
        if hub.prefetch is not None:
            await hub.prefetch.forget(which)
    yield wire.Done(result=wire.Cleared(entries=removed))


async def _which(hub: Hub, request: wire.ListCache | wire.ClearCache) -> Which:
    """Raises ModelUnavailable for a model that is neither known nor has left answers behind."""
    model = request.model
    if model is not None:
        try:
            model = hub.catalog.find(model).name
        except ModelUnavailable:
            if hub.tiers.book is None or model not in await hub.tiers.book.models():
                raise
    return Which(model, request.user, request.tags, request.older, request.newer)


async def audit_cache(hub: Hub, call: Call | None, request: wire.AuditCache) -> Replies:
    yield wire.Done(result=await hub.semantic.audit())


async def undo_hit(hub: Hub, call: Call | None, request: wire.UndoHit) -> Replies:
    if request.id == "":
        raise InvalidRequest("the id is empty", "Leave it out for your last one.")
    found = await hub.history.hits(SEMANTIC, request.user, request.id)
    if request.id is None:
        undone = await hub.semantic.knowledge.undone()
        found = [(id_, key) for id_, key in found if key not in undone]
    if not found:
        whose = (
            f"no request whose id begins with {short(request.id)}" if request.id else f"no request of {request.user}"
        )
        message = f"{whose} was answered by the stored answer to a similar question, or it was taken back"
        raise NotFound(message, '`llmctl ask --json` tells the id, and `"hit":"semantic"` of an answer that was.')
    id_, key = found[0]
    question = await hub.semantic.knowledge.take_back(id_, key)
    served = [wire.ServedTo(*row) for row in await hub.history.served(SEMANTIC, key)]
    yield wire.Done(result=wire.HitUndone(id=id_, key=key, question=question, served=served))


async def undo(hub: Hub, call: Call | None, request: wire.Undo) -> Replies:
    turn = await hub.history.undo(request.user, request.conversation, request.look)
    yield wire.Done(result=wire.Undone(prompt=turn and (turn.whole or turn.prompt), system=turn and turn.system))


def call_of(id: str, request: wire.Request) -> Call | None:
    """The request as the pipeline has it, where it goes through the pipeline."""
    if isinstance(request, wire.Warm):
        return Call(id, request.request, fills=True, given=request.text)
    return Call(id, request) if isinstance(request, wire.Generate) else None


HANDLERS: dict[type[wire.Request], Handler] = {
    wire.Generate: generate,
    wire.Embed: embed,
    wire.Status: status,
    wire.Ps: ps,
    wire.Stop: stop,
    wire.AddModel: add_model,
    wire.PullModel: pull_model,
    wire.EstimateModel: estimate_model,
    wire.RemoveModel: remove_model,
    wire.LoadModel: load_model,
    wire.PinModel: pin_model,
    wire.UnloadModel: unload_model,
    wire.GetCacheStats: cache_stats,
    wire.ListCache: list_cache,
    wire.ShowCache: show_cache,
    wire.ClearCache: clear_cache,
    wire.Warm: warm,
    wire.AuditCache: audit_cache,
    wire.UndoHit: undo_hit,
    wire.Undo: undo,
}
"""Cancel and Ack are not here: the server handles them at once, never behind work."""
