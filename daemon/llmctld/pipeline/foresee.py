"""Stage `foresee`, around `exact`: what users ask, and in which order, is told to prefetch; and how that asks it once more.

It knows how a request becomes a body and a body an answer; what is likely, and whether it pays, it does not.
"""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

import msgspec

from llmctl.config import Cache
from llmctl.errors import ModelUnavailable
from llmctl.wire import Answer, Answers, Generate
from llmctld.cache.prefetch.prefetch import Asked, Computed, NotNow, Prefetch
from llmctld.call import Call, Event, GaveWay, Link, Stage
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.catalogue.target import REMOTE
from llmctld.models.engines.worker import ChatMessage
from llmctld.models.running.residency import Residency
from llmctld.pipeline.background import Background
from llmctld.pipeline.exact import keeps, repeatable

BODY_BYTES = 256 * 1024
"""A longer request is not kept."""
ALIKE: dict[str, Any] = {
    "prompt": None, "messages": None, "stdin": None, "files": [], "params": {}, "declared": {}, "system": None,
    "conversation": None, "continue_last": False,
}  # fmt: skip
"""What the messages hold already; a field that `cache.scope` names stays, for it is part of the key."""
SERVED = ("memory", "disk", "shared", "semantic")


class Again(msgspec.Struct, array_like=True):
    """A request as it can be asked once more: with what the model saw."""

    request: Generate
    messages: list[ChatMessage]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Again).decode


def foresee(prefetch: Prefetch, settings: Cache) -> Link:
    """Costs a user some look-ups in memory, before the last event of a request."""

    def link(next_: Stage) -> Stage:
        async def stage(call: Call) -> AsyncGenerator[Event, None]:
            async with aclosing(next_(call)) as events:
                async for event in events:
                    if isinstance(event, Answer | Answers) and call.charge is None and not call.fills:
                        prefetch.saw(_asked(call, event, settings))
                    yield event

        return stage

    return link


def _asked(call: Call, event: Answer | Answers, settings: Cache) -> Asked:
    request, now = call.request, time.time()
    first = event if isinstance(event, Answer) else event.answers[0]
    again = keeps(request, settings) and request.tokens is None and request.max_age is None
    takes = request.cache != "refresh" and keeps(request, settings)
    small = sum(len(message.content) for message in call.messages) < BODY_BYTES
    return Asked(
        group=request.user if "user" in settings.scope else "", person=request.user, key=call.key or "", at=now,
        created=now - (first.cache.age_s or 0.0), takes=takes, used=first.cache.key if call.hit in SERVED else None,
        boarded=call.hit == "flight",
        model=call.entry.name, tags=request.tags, body=partial(_body, call, settings.scope) if again and small else None,
    )  # fmt: skip


def _body(call: Call, scope: list[str]) -> bytes:
    request = call.request
    changes = {name: value for name, value in ALIKE.items() if name not in scope}
    if "model" not in scope:
        changes["model"] = call.entry.name
    again = msgspec.structs.replace(request, cache="refresh" if repeatable(request) else "store", **changes)
    return _encode(Again(again, call.messages))


def computing(
    background: Background,
    residency: Residency,
    catalog: Catalog,
    expires: Callable[[str], Awaitable[float | None]],
) -> Callable[[bytes], Awaitable[Computed | None]]:
    """What prefetch calls. It loads no model here, and ends for any user's sake."""

    async def compute(body: bytes) -> Computed | None:
        again = _decode(body)
        try:
            entry = catalog.choose(again.request.model, "text")
            elsewhere = entry.backend == REMOTE  # to load it takes nothing here
            if background.ended or not (elsewhere or residency.is_loaded(entry)):
                raise NotNow
            result = await background.generate(again.request, messages=again.messages, load=elsewhere, fills=True)
        except ModelUnavailable as error:
            raise NotNow from error
        except GaveWay:
            return None
        first = result if isinstance(result, Answer) else result.answers[0]
        if first.cache.hit is not None or first.cache.key is None:
            raise NotNow  # a user was computing the same, or it was there
        return Computed(first.cache.key, await expires(first.cache.key))

    return compute
