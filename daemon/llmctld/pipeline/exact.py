"""Stage `exact`: the same question is answered from the cache, and the same question in flight is computed once.

It decides what may be served and stored, not where it lies; what makes two requests equal stands in identity.py.
"""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from llmctl.config import Cache
from llmctl.errors import CacheMiss, ConfigError, InvalidRequest, nearest
from llmctl.wire import Answer, Answers, Delta, Generate, Notice, Timings, Usage
from llmctld.cache.entries.book import WORDS
from llmctld.cache.entries.context import groups_of, template_of
from llmctld.cache.level import About, Stored
from llmctld.cache.levels.tiers import Hit, Tiers
from llmctld.cache.lifetimes.kinds import kind_of
from llmctld.call import Call, Event, Link, Stage
from llmctld.models.catalogue.catalog import Catalog
from llmctld.pipeline.cuttable import told
from llmctld.pipeline.flight import Flights
from llmctld.pipeline.identity import key_of
from llmctld.pipeline.semantic import wanted
from llmctld.pipeline.structure import value_of


def repeatable(request: Generate) -> bool:
    """Whether the answer may stand for the next one: a temperature above 0 without a seed asks for variety."""
    return not request.temperature or request.seed is not None


def keeps(request: Generate, settings: Cache) -> bool:
    """Whether its answer is stored."""
    return request.cache == "store" or (request.cache != "skip" and settings.enabled and repeatable(request))


def exact(tiers: Tiers, catalog: Catalog, settings: Cache) -> Link:
    """Raises CacheMiss for `--cache-only`; ConfigError at once when the scope names no field of a request."""
    for name in settings.scope:
        if name not in Generate.__struct_fields__:
            hint = nearest(name, Generate.__struct_fields__)
            raise ConfigError(f"cache.scope: {name!r} is no field of a request", hint)

    def link(next_: Stage) -> Stage:
        stored = storing(tiers, next_, catalog)
        flights = Flights(stored)

        async def stage(call: Call) -> AsyncGenerator[Event, None]:
            mode = call.request.cache
            call.content = catalog.content(call.entry, call.request.adapters)
            call.key = key_of(call, catalog, settings.scope)
            call.keep = keep = keeps(call.request, settings)
            if call.fills and not keep:
                raise _pointless(call.request)
            looks = mode == "only" or (keep and mode != "refresh")
            call.explain(
                "exact", f"{call.key} is {'' if looks else 'not '}looked for, and {'' if keep else 'not '}stored"
            )
            if looks:
                hit = await (_there(tiers, call) if call.fills else tiers.get(call.key, call.request.max_age))
                if call.request.explain:
                    call.explain("exact", f"found in {hit.level}" if hit else await _missed(tiers, call))
                if call.charge is None and not call.fills:
                    tiers.reuse.note(_groups(call), hit is not None)
                for text in tiers.news() if call.charge is None else ():  # for somebody who reads it
                    yield Notice(text=text)
                if hit is not None:
                    for event in _served(call, hit):
                        yield event
                    return
            if mode == "only" and not wanted(call.request, settings):
                raise CacheMiss(f"no stored answer of {call.entry.name} for this request")
            if mode == "only" or not keep or call.given is not None or _several(call.request):
                async with aclosing(stored(call) if keep else next_(call)) as events:
                    async for event in events:
                        yield event
                return
            async with aclosing(flights.join(call)) as events:
                async for event in events:
                    if isinstance(event, Answer) and call.hit == "flight":
                        tiers.joined += call.charge is None and not call.fills
                    yield event

        return stage

    return link


def _pointless(request: Generate) -> InvalidRequest:
    """Why there is nothing to warm."""
    if repeatable(request):
        return InvalidRequest(
            "cache.enabled is false: nothing is stored", "`cache` on the request stores it all the same."
        )
    why = f"temperature is {request.temperature} and there is no seed: the next one who asks gets another answer"
    return InvalidRequest(why, "Give a seed, or `cache` on the request, which then stores it.")


async def _there(tiers: Tiers, call: Call) -> Hit | None:
    """As a lookup, but nobody wants to read it: it counts as neither hit nor miss."""
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
    return f"too old: it was computed {time.time() - stored.created:.1f} s ago, and --max-age allows {oldest:g} s"


def _several(request: Generate) -> bool:
    """Samples join nobody's flight: each is an answer of its own."""
    return (request.n or 1) > 1


def _served(call: Call, hit: Hit) -> list[Event]:
    call.hit = hit.level
    each = [hit.answer, *hit.answer.more]
    call.work.left_out = hit.answer.left_out
    answers = [_answer(call, stored, index, round(hit.age, 3)) for index, stored in enumerate(each)]
    deltas = [Delta(text=found.text, reasoning=found.reasoning or "", index=found.index) for found in answers]
    notices = (
        [Notice(text=f"{call.entry.name}: {told(left_out, call.request, call.prompt or '')}")]
        if (left_out := call.work.left_out)
        else []
    )
    return [*notices, *deltas, Answers(answers=answers) if _several(call.request) else answers[0]]


def _answer(call: Call, stored: Stored, index: int, age: float) -> Answer:
    answer = call.answer(stored.text, stored.reasoning, stored.finish_reason, stored.usage, Timings(), age)
    answer.index, answer.logprobs = index, stored.logprobs
    answer.value = value_of(call.request.schema, stored.text)
    answer.conversation = None if index else answer.conversation
    return answer


def storing(tiers: Tiers, next_: Stage, catalog: Catalog) -> Stage:
    """Stores the answer before the flight ends: who comes later finds the one or the other, never neither.

    Not where the model's files changed while it was computed: nobody knows which of the two it is of.
    """

    async def stage(call: Call) -> AsyncGenerator[Event, None]:
        async with aclosing(next_(call)) as events:
            async for event in events:
                answers = [event] if isinstance(event, Answer) else event.answers if isinstance(event, Answers) else []
                if answers and all(map(_whole, answers)) and call.key is not None and _unchanged(call, catalog):
                    first, *more = [_stored(answer) for answer in answers]
                    first = msgspec.structs.replace(first, more=more, left_out=call.work.left_out)
                    put = await tiers.put(call.key, first, _about(call))
                    call.work.stored = put.taken
                    for text in [*tiers.news(), *([put.notice] if put.notice is not None else [])]:
                        yield Notice(text=text)
                yield event

    return stage


def _whole(answer: Answer) -> bool:
    """Whether it came to its own end. An empty one may be a failure that nobody told of: the next one who asks finds out."""
    said = answer.text or answer.reasoning
    return answer.finish_reason in ("stop", "length") and not answer.cache.hit and bool(said)


def _about(call: Call) -> About:
    request, prompt = call.request, call.prompt or call.request.prompt or ""
    return About(request.user, request.tags, call.conversation, prompt[:WORDS], kind_of(prompt), _template(call))


def _template(call: Call) -> str:
    request = call.request
    system = request.system if request.messages is None else call.system
    return template_of(system, request.prompt, bool(request.declared or request.params))


def _groups(call: Call) -> list[str]:
    return groups_of(call.request.user, call.conversation, _template(call))


def _unchanged(call: Call, catalog: Catalog) -> bool:
    return call.content is not None and catalog.still(call.content, call.entry, call.request.adapters)


def _stored(answer: Answer) -> Stored:
    usage = Usage(answer.usage.prompt_tokens, answer.usage.cached_tokens, answer.usage.completion_tokens)
    seconds = (answer.timings.prefill_ms + answer.timings.decode_ms) / 1e3
    model, text, reasoning, reason = answer.model, answer.text, answer.reasoning, answer.finish_reason
    return Stored(model, text, reasoning, reason, usage, time.time(), seconds, answer.logprobs)
