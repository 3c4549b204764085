"""Stage `foresee`, around `exact`: tells prefetch what users ask, and in which order.

What is likely to be asked next, and whether computing it in advance pays, is decided in cache/prefetch.
"""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial

from llmctl.config import Cache
from llmctl.wire import Answer, Answers
from llmctld.cache.prefetch.prefetch import Answered, Prefetcher
from llmctld.call import again
from llmctld.call.call import Call, Event, Link, Stage
from llmctld.call.reuse import is_stored
from llmctld.models.catalogue.catalog import Catalog

SERVED = ("memory", "disk", "shared", "semantic")


def foresee(prefetch: Prefetcher, catalog: Catalog, settings: Cache) -> Link:
    """Costs a user some look-ups in memory, before the last event of a request. The built-in guide is left out: it answers
    as fast as the cache.
    """

    def link(next_: Stage) -> Stage:
        async def stage(call: Call) -> AsyncGenerator[Event, None]:
            is_guide = catalog.is_guide(call.entry)
            async with aclosing(next_(call)) as events:
                async for event in events:
                    if isinstance(event, Answer | Answers) and call.origin.wants_text and not is_guide:
                        prefetch.add_request(_answered(call, event, settings))
                    yield event

        return stage

    return link


def _answered(call: Call, event: Answer | Answers, settings: Cache) -> Answered:
    request, now = call.request, time.time()
    first = event if isinstance(event, Answer) else event.answers[0]
    stored = is_stored(request, settings)
    again_too = stored and request.tokens is None and request.max_age is None and again.is_small(call)
    return Answered(
        group=request.user if "user" in settings.scope else "", person=request.user, key=call.key or "", at=now,
        created=now - (first.cache.age_s or 0.0), takes=request.cache != "refresh" and stored,
        used=first.cache.key if call.hit in SERVED else None, boarded=call.hit == "flight", model=call.entry.name,
        tags=request.tags, body=partial(again.to_bytes, call, settings.scope) if again_too else None,
    )  # fmt: skip
