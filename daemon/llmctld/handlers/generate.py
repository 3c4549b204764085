"""Requests for answers and for vectors: `ask`, `chat`, `cache warm`, `embed`."""

from contextlib import aclosing

from llmctl import wire
from llmctl.errors import Internal, Storage
from llmctld.call.call import Call
from llmctld.call.origin import Purpose, origin_of
from llmctld.handlers.hub import Hub, Tell

NOT_STORED_HINT = "`llmctl cache stats` shows the levels; `cache.memory_bytes` and `cache.disk_bytes` are their sizes."


def call_of_generate(id: str, request: wire.Generate) -> Call:
    return Call(id, request, origin_of(request))


def call_of_warm(id: str, request: wire.Warm) -> Call:
    return Call(id, request.request, origin_of(request.request, Purpose.WARM), supplied=request.text)


async def generate(hub: Hub, call: Call, tell: Tell) -> wire.Answer | wire.Answers:
    async with aclosing(hub.pipeline(call)) as events:
        async for event in events:
            if isinstance(event, wire.Answer | wire.Answers):
                return event
            tell(event)
    raise Internal("the pipeline ended without an answer")


async def warm(hub: Hub, call: Call, tell: Tell) -> wire.Warmed:
    """Raises Storage when no level of the cache took the answer."""
    result = await generate(hub, call, lambda reply: tell(reply) if isinstance(reply, wire.Notice) else None)
    if call.hit != "stored" and not call.work.stored:
        raise Storage("the answer was not stored: no level of the cache accepted it", NOT_STORED_HINT)
    answers = [result] if isinstance(result, wire.Answer) else result.answers
    outcome = "stored" if call.hit else "generated" if call.supplied is None else "given"
    spent = 0.0 if call.hit else sum(each.timings.prefill_ms + each.timings.decode_ms for each in answers)
    return wire.Warmed(key=call.key or "", model=call.entry.name, outcome=outcome, seconds=round(spent / 1e3, 3))


async def embed(hub: Hub, request: wire.Embed, tell: Tell) -> wire.Embeddings:
    hub.background.give_way()
    async with aclosing(hub.embedding(request)) as events:
        async for event in events:
            if isinstance(event, wire.Embeddings):
                return event
            tell(event)
    raise Internal("no vectors were computed")
