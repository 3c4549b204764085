"""What `--overflow` may leave out of a prompt, and how it is told what was.

What came with the question goes first: stdin and files, or the longest value of a parameter; only where that does not make
enough room, the whole text of this turn. How much goes is for the engine to find out, which alone has a tokenizer.
"""

import sys
from typing import NamedTuple

from llmctl.wire import Generate
from llmctld.cache.level import LeftOut
from llmctld.call.chat import normal
from llmctld.call.prompt import PLACE, body, compose_prompt, fill, values_of

WHERE = {"head": "the beginning", "middle": "the middle", "tail": "the end"}
"""`--overflow` -> what is left out."""


class Part(NamedTuple):
    """Characters of the prompt, and what they are called."""

    start: int
    end: int
    name: str


def parts(request: Generate, prompt: str | None) -> list[Part]:
    """In the order in which they are cut; empty where nothing is to be."""
    if request.overflow not in WHERE or prompt is None:
        return []
    whole, values = Part(0, len(prompt), "the prompt"), values_of(request)
    if request.messages is not None:
        return [whole]
    if compose_prompt(request, values, sys.maxsize) != prompt:  # put together elsewhere
        return [whole]
    came = _came_with_it(request, values, prompt)
    if came is None or not prompt[came.start : came.end].strip():
        return [whole]
    return [came, whole] if prompt[: came.start].strip() or prompt[came.end :].strip() else [came]


def _came_with_it(request: Generate, values: dict[str, str], prompt: str) -> Part | None:
    text, stdin, limit = normal(request.prompt or ""), request.stdin, sys.maxsize
    places = list(PLACE.finditer(text))
    placed = next((place for place in places if place[1] == "stdin" and "stdin" not in values), None)
    if placed is not None and stdin is not None:
        start = len(fill(text[: placed.start()], values, limit))
        return Part(start, start + len(body(stdin, request.raw)), "stdin")
    typed = fill(text, values, limit)
    start = len(typed) + 2 if typed else 0
    names = [f"the file {file.name}" for file in request.files] + ["stdin"] * bool(stdin)
    if names:
        heading = len(f"{request.files[0].name}:\n") if request.files and len(names) == 1 else 0
        return Part(start + heading, len(prompt), " and ".join(names))
    filled = [place for place in places if place[1] in values]
    if not filled:
        return None
    longest = max(filled, key=lambda place: len(values[place[1]]))
    start = len(fill(text[: longest.start()], values, limit))
    return Part(start, start + len(values[longest[1]]), f"the parameter {longest[1]}")


def told(left_out: LeftOut, request: Generate, prompt: str) -> str:
    """What was left out, for a notice."""
    there = parts(request, prompt)
    part = next(part for part in there if part.start <= left_out.start and left_out.end <= part.end)
    gone, all = (len(text.encode()) for text in (prompt[left_out.start : left_out.end], prompt[part.start : part.end]))
    return (
        f"the prompt is too long, so {WHERE[request.overflow or '']} of {part.name} is left out: "
        f"{gone} of {all} bytes, {left_out.tokens} of the prompt's {left_out.of} tokens"
    )


def shortened(prompt: str, left_out: LeftOut) -> str:
    """The prompt as it was sent."""
    return prompt[: left_out.start] + left_out.glue + prompt[left_out.end :]
