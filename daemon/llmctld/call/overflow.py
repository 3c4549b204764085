"""Which parts of a prompt `--overflow` may cut, and the notice that says what was cut.

Stdin and files, or the longest value of a parameter, are cut first; the whole text of the turn only if that makes too little
room. The engine, which has the tokenizer, decides how much is cut.
"""

import sys
from typing import NamedTuple

from llmctl.wire import Generate
from llmctld.cache.level import LeftOut
from llmctld.call.chat import normal
from llmctld.call.prompt import PLACE, body, compose_prompt, fill, values_of

WHERE = {"head": "the beginning", "middle": "the middle", "tail": "the end"}
"""Value of `--overflow` -> the words for what is cut."""


class Part(NamedTuple):
    """A range of characters of the prompt, and its name in the notice."""

    start: int
    end: int
    name: str


def parts(request: Generate, prompt: str | None) -> list[Part]:
    """In the order in which they are cut; empty: nothing may be cut."""
    if request.overflow not in WHERE or prompt is None:
        return []
    whole, values = Part(0, len(prompt), "the prompt"), values_of(request)
    if request.messages is not None:
        return [whole]
    if compose_prompt(request, values, sys.maxsize) != prompt:  # composed elsewhere
        return [whole]
    attached = _attached(request, values, prompt)
    if attached is None or not prompt[attached.start : attached.end].strip():
        return [whole]
    return [attached, whole] if prompt[: attached.start].strip() or prompt[attached.end :].strip() else [attached]


def _attached(request: Generate, values: dict[str, str], prompt: str) -> Part | None:
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


def cut_notice(left_out: LeftOut, request: Generate, prompt: str) -> str:
    """The notice that says what was cut."""
    there = parts(request, prompt)
    part = next(part for part in there if part.start <= left_out.start and left_out.end <= part.end)
    gone, all = (len(text.encode()) for text in (prompt[left_out.start : left_out.end], prompt[part.start : part.end]))
    return (
        f"the prompt is too long, so {WHERE[request.overflow or '']} of {part.name} is left out: "
        f"{gone} of {all} bytes, {left_out.tokens} of the prompt's {left_out.of} tokens"
    )


def shortened(prompt: str, left_out: LeftOut) -> str:
    """The prompt as the model read it."""
    return prompt[: left_out.start] + left_out.glue + prompt[left_out.end :]
