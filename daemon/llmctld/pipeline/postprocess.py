"""Stage `postprocess`: what is done to a complete answer before it is stored and shown: the code block that was asked for."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from llmctl.errors import Incomplete
from llmctl.wire import Answer, Delta
from llmctld.pipeline.call import Call, Event, Stage

FENCED = re.compile(r"^[ ]{0,3}(`{3,}|~{3,})[^\n]*\n(.*?)(?:^[ ]{0,3}\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
"""A fenced code block (spec.commonmark.org, 4.5); one that is not closed reaches to the end."""


def postprocess(next_: Stage) -> Stage:
    """With `extract` the text comes as one Delta at the end. Raises Incomplete when there is no code block."""

    async def stage(call: Call) -> AsyncGenerator[Event, None]:
        async with aclosing(next_(call)) as events:
            async for event in events:
                if call.request.extract is None:
                    yield event
                elif isinstance(event, Answer):
                    block = code_block(event.text, call.request.extract)
                    yield Delta(text=block)
                    yield msgspec.structs.replace(event, text=block)
                elif not isinstance(event, Delta):
                    yield event

    return stage


def code_block(text: str, which: str) -> str:
    """The content of the first or last fenced block, without its fences."""
    blocks = [match[2] for match in FENCED.finditer(text)]
    if not blocks:
        raise Incomplete(
            f"the answer of {len(text)} characters holds no code block", "Ask for a fenced code block in the prompt."
        )
    return blocks[0 if which == "first" else -1].removesuffix("\n")
