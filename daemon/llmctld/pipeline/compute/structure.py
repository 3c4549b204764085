"""Stage `structure`: what is asked to satisfy a schema or a grammar is compiled before, and held against it again after.

It knows that an answer cut short or invalid is not an answer; how tokens are kept in line is the engine's part.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from llmctl.errors import Incomplete
from llmctl.wire import Answer, with_whole
from llmctld.call.call import Call, Event, Link, Stage
from llmctld.trial import Trial


def structure(trial: Trial) -> Link:
    """Raises Usage before anything is computed, Incomplete, with what came, at the end."""

    def link(next_: Stage) -> Stage:
        async def stage(call: Call) -> AsyncGenerator[Event, None]:
            request = call.request
            held = request.schema is not None or request.grammar is not None
            if held:
                await trial.compile(request.schema, request.grammar)
            async with aclosing(next_(call)) as events:
                async for event in events:
                    yield await _checked(call, trial, event) if held and isinstance(event, Answer) else event

        return stage

    return link


async def _checked(call: Call, trial: Trial, answer: Answer) -> Answer:
    """The answer, with its value where there is a schema."""
    schema, grammar = call.request.schema, call.request.grammar
    what = "grammar" if schema is None else "schema"
    flaw = await trial.flaw(schema, grammar, answer.text)
    if flaw and answer.finish_reason == "length":
        tokens = answer.usage.completion_tokens
        message = f"the answer was cut after {tokens} tokens, before it satisfied the {what}"
        raise Incomplete(message, "Allow more with --max-tokens, or limit lengths in the schema.", answer)
    if flaw:
        raise Incomplete(f"the answer does not satisfy the {what}: {flaw}", None, answer)
    return msgspec.structs.replace(answer, value=value_of(schema, answer.text))


def value_of(schema: str | None, text: str) -> object:
    """What a text that satisfies a schema says, whole numbers to their last digit; None without one."""
    return None if schema is None else with_whole(msgspec.json.decode(text))
