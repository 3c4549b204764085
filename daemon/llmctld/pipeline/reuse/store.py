"""Stage `store`, within `flight`: stores a computed answer before the flight ends.

So a request that comes later finds the flight or the stored answer, never neither. Where the answer lies is decided by
the cache.
"""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from llmctl.wire import Answer, Answers, Notice
from llmctld.cache.entries.book import WORDS
from llmctld.cache.level import About, Stored
from llmctld.cache.levels.tiers import Tiers
from llmctld.cache.lifetimes.question_kinds import kind_of
from llmctld.call.call import Call, Event, Link, Stage
from llmctld.call.identity import template
from llmctld.models.catalogue.catalog import Catalog


def store(tiers: Tiers, catalog: Catalog) -> Link:
    """Stores nothing where the model's files changed meanwhile: which of the two wrote the answer is not known."""

    def link(next_: Stage) -> Stage:
        async def stage(call: Call) -> AsyncGenerator[Event, None]:
            async with aclosing(next_(call)) as events:
                async for event in events:
                    answers = _answers(event) if call.keep else []
                    if answers and all(map(_complete, answers)) and call.key is not None and _unchanged(call, catalog):
                        timings = answers[0].timings
                        seconds = (timings.prefill_ms + timings.decode_ms) / 1e3
                        kept = Stored(answers, time.time(), seconds)
                        kept.left_out = call.work.left_out
                        put = await tiers.put(call.key, kept, _about(call))
                        call.work.stored = put.taken
                        for text in [*tiers.news(), *([put.notice] if put.notice is not None else [])]:
                            yield Notice(text=text)
                    yield event

        return stage

    return link


def _answers(event: Event) -> list[Answer]:
    return [event] if isinstance(event, Answer) else event.answers if isinstance(event, Answers) else []


def _complete(answer: Answer) -> bool:
    """Whether the model ended it. An empty answer may be a failure that was not reported, so the next request tries again."""
    said = answer.text or answer.reasoning
    return answer.finish_reason in ("stop", "length") and not answer.cache.hit and bool(said)


def _about(call: Call) -> About:
    origin, prompt = call.origin, call.prompt or call.request.prompt or ""
    tags = list(origin.tags)
    return About(origin.user, tags, origin.conversation, prompt[:WORDS], kind_of(prompt), template(call))


def _unchanged(call: Call, catalog: Catalog) -> bool:
    return call.content is not None and catalog.still(call.content, call.entry, call.request.adapters)
