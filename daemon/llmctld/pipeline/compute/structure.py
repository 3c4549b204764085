"""Stage `structure` (`--schema`, `--grammar`): compiles the schema or grammar before, checks the answer against it after.

The engine constrains the tokens; this stage rejects an answer that was cut short or is invalid.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from llmctl.errors import Incomplete, counted
from llmctl.wire import Answer, with_whole
from llmctld.call.call import Call, Event, Link, Stage
from llmctld.pipeline.compute.trial import Trial


def structure(trial: Trial) -> Link:
    """Raises Usage before anything is computed; Incomplete, with the answer so far, at the end."""

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
    """The answer, with `value` set if there is a schema. Raises Incomplete."""
    schema, grammar = call.request.schema, call.request.grammar
    what = "grammar" if schema is None else "schema"
    flaw = await trial.flaw(schema, grammar, answer.text)
    if flaw and answer.finish_reason == "length":
        tokens = answer.usage.completion_tokens
        message = f"the answer was cut after {counted(tokens, 'token')}, before it satisfied the {what}"
        raise Incomplete(message, "Allow more with --max-tokens, or limit lengths in the schema.", answer)
    if flaw:
        raise Incomplete(f"the answer does not satisfy the {what}: {flaw}", None, answer)
    return msgspec.structs.replace(answer, value=_value(schema, answer.text))


def _value(schema: str | None, text: str) -> object:
    """The parsed text, with whole numbers of any size; None without a schema."""
    return None if schema is None else with_whole(msgspec.json.decode(text))
