"""Stage `postprocess` (`-x`, `--xl`): reduces a complete answer to its first or last code block."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import cache
from typing import TYPE_CHECKING

import msgspec

from llmctl.errors import Incomplete
from llmctl.wire import Answer, Delta
from llmctld.call.call import Call, Event, Stage

if TYPE_CHECKING:
    from markdown_it import MarkdownIt


def postprocess(next_: Stage) -> Stage:
    """With `extract`, the text comes as one Delta at the end. Raises Incomplete if there is no code block."""

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
    """The content of the first or last fenced block (spec.commonmark.org, 4.5), without fences and their indentation.

    Blocks in lists and quotations count. An unclosed block ends with its container. Lines end with LF.
    """
    blocks = [token.content for token in _blocks().parse(text) if token.type == "fence"]
    if not blocks:
        raise Incomplete(
            f"the answer of {len(text)} characters contains no code block", "Ask for a fenced code block in the prompt."
        )
    return blocks[0 if which == "first" else -1].removesuffix("\n")


@cache
def _blocks() -> "MarkdownIt":
    """A parser of blocks only. It finds a fence behind `<details>` too, where CommonMark sees HTML up to an empty line."""
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").disable(["html_block", "reference"])
    parser.core.ruler.enableOnly(["normalize", "block"])
    return parser
