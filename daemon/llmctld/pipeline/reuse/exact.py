"""Stage `exact`: looks up the stored answer to an equal request.

What makes two requests equal stands in call/identity.py; the stages `flight` and `store` behind it do the rest.
"""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from llmctl.config import Cache
from llmctl.errors import CacheMiss, ConfigError, InvalidRequest, nearest
from llmctl.wire import Answers, CacheUse, Delta, Generate, Notice
from llmctld.cache.entries.context import groups_of
from llmctld.cache.levels.tiers import Hit, Tiers
from llmctld.call.call import Call, Event, Link, Stage
from llmctld.call.identity import key_of, template
from llmctld.call.overflow import cut_notice
from llmctld.call.receiver import served
from llmctld.call.reuse import is_stored, repeatable, several, similar_will_do
from llmctld.models.catalogue.catalog import Catalog


def exact(tiers: Tiers, catalog: Catalog, settings: Cache) -> Link:
    """Raises CacheMiss for `--cache-only`; ConfigError at once when `cache.scope` names no field of a request."""
    for name in settings.scope:
        if name not in Generate.__struct_fields__:
            hint = nearest(name, Generate.__struct_fields__)
            raise ConfigError(f"cache.scope: {name!r} is not a field of a request", hint)

    def link(next_: Stage) -> Stage:
        async def stage(call: Call) -> AsyncGenerator[Event, None]:
            mode = call.request.cache
            call.content = catalog.content(call.entry, call.request.adapters)
            call.key = key_of(call, catalog, settings.scope)
            call.keep = keep = is_stored(call.request, settings)
            if call.origin.fills_cache and not keep:
                raise _pointless(call.request)
            looks = mode == "only" or (keep and mode != "refresh")
            call.explain(
                "exact", f"{call.key} is {'' if looks else 'not '}looked for, and {'' if keep else 'not '}stored"
            )
            if looks:
                hit = await (
                    _there(tiers, call) if call.origin.fills_cache else tiers.get(call.key, call.request.max_age)
                )
                if call.request.explain:
                    call.explain("exact", f"found in {hit.level}" if hit else await _missed(tiers, call))
                if call.origin.wants_text:
                    groups = groups_of(call.origin.user, call.conversation, template(call))
                    tiers.reuse.note(groups, hit is not None)
                for text in () if call.origin.own_work else tiers.news():  # only where somebody reads it
                    yield Notice(text=text)
                if hit is not None:
                    for event in _events(call, hit):
                        yield event
                    return
            if mode == "only" and not similar_will_do(call.request, settings):
                raise CacheMiss(f"no stored answer of {call.entry.name} for this request")
            async with aclosing(next_(call)) as events:
                async for event in events:
                    yield event

        return stage

    return link


def _pointless(request: Generate) -> InvalidRequest:
    """Why there is nothing to warm."""
    if repeatable(request):
        return InvalidRequest("cache.enabled is false: nothing is stored", "Set `cache` to store the answer anyway.")
    why = f"temperature is {request.temperature} and there is no seed, so each request gets a new answer"
    return InvalidRequest(why, "Set a seed, or set `cache` to store the answer anyway.")


async def _there(tiers: Tiers, call: Call) -> Hit | None:
    """The stored answer of a request that only fills the cache: counts as neither hit nor miss."""
    assert call.key is not None
    found, oldest = await tiers.peek(call.key), call.request.max_age
    age = max(0.0, time.time() - found.created) if found else 0.0
    return None if found is None or (oldest is not None and age > oldest) else Hit("stored", found, age)


async def _missed(tiers: Tiers, call: Call) -> str:
    """Why there was no hit: nothing is stored, or it is too old for this request."""
    assert call.key is not None
    stored, oldest = await tiers.peek(call.key), call.request.max_age
    if stored is None or oldest is None:
        return "not found"
    return f"too old: it was computed {time.time() - stored.created:.1f} s ago, but --max-age allows {oldest:g} s"


def _events(call: Call, hit: Hit) -> list[Event]:
    call.hit, call.saved_ms = hit.level, hit.answer.seconds * 1e3
    cache = CacheUse(hit=hit.level, key=call.key, age_s=round(hit.age, 3))
    answers = [served(answer, call, cache) for answer in hit.answer.answers]
    deltas = [Delta(text=answer.text, reasoning=answer.reasoning or "", index=answer.index) for answer in answers]
    notices = []
    if left_out := hit.answer.left_out:
        call.work.left_out = left_out
        notices = [Notice(text=f"{call.entry.name}: {cut_notice(left_out, call.request, call.prompt or '')}")]
    return [*notices, *deltas, Answers(answers=answers) if several(call.request) else answers[0]]
