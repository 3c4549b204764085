"""The text of a user's turn: PROMPT with its parameters filled in, files and stdin, in one normal form.

Nothing is altered but CRLF and a leading byte order mark. Conversations, models and chat templates are not known here.
"""

import re
from collections.abc import Mapping

from llmctl.errors import InvalidRequest
from llmctl.wire import Generate
from llmctld.call.chat import normal

PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_-]*)\}")


def values_of(request: Generate) -> dict[str, str]:
    """The value of each `{name}`. Raises InvalidRequest when a declared parameter has no value."""
    values = {name: value for name, value in request.declared.items() if value is not None} | request.params
    missing = [
        name for name in request.declared if name not in values and not (name == "stdin" and request.stdin is not None)
    ]
    if missing:
        raise InvalidRequest(f"the parameter {missing[0]} has no value", f"Give it with `-p {missing[0]}=VALUE`.")
    return {name: normal(value) for name, value in values.items()}


def fill(text: str, values: Mapping[str, str], limit: int) -> str:
    """Replaces each `{name}` that has a value, in one pass; all other braces stay.

    Raises InvalidRequest before the text exceeds `limit` characters: a short prompt may name a long value many times.
    """
    if not values:
        return text
    size = len(text) + sum(len(values[place[1]]) for place in PLACE.finditer(text) if place[1] in values)
    if size > limit:
        raise InvalidRequest(
            f"the prompt has {size} characters once its parameters are filled in; limits.prompt_bytes is {limit}",
            "Shorten it, or raise `limits.prompt_bytes` in the configuration.",
        )
    return PLACE.sub(lambda place: values.get(place[1], place[0]), text)


def typed_question(request: Generate, values: Mapping[str, str], limit: int) -> str | None:
    """The typed question, where files or stdin accompany it; otherwise None."""
    if request.stdin is None and not request.files:
        return None
    return fill(normal(request.prompt or ""), values, limit).strip() or None


def body(text: str, raw: bool) -> str:
    """The text of a file or of stdin, without its last line end."""
    return normal(text) if raw else normal(text).removesuffix("\n")


def compose_prompt(request: Generate, values: Mapping[str, str], limit: int) -> str | None:
    """PROMPT, each file below its name, then stdin, separated by empty lines; None for a prompt of token ids."""
    if request.tokens is not None:
        return None
    prompt, stdin = normal(request.prompt or ""), request.stdin
    placed = "stdin" not in values and any(place[1] == "stdin" for place in PLACE.finditer(prompt))
    if placed and stdin is None:
        raise InvalidRequest(
            "the prompt contains {stdin}, but there is no text on stdin",
            "Pipe the text in: `cat FILE | llmctl ask ...`.",
        )
    stdin = None if stdin is None else body(stdin, request.raw)
    filled = fill(prompt, {**values, "stdin": stdin} if placed and stdin is not None else values, limit)
    parts = [filled, *(f"{file.name}:\n{body(file.text, request.raw)}" for file in request.files)]
    if stdin is not None and not placed:
        parts.append(stdin)
    text = "\n\n".join(part for part in parts if part)
    if not text.strip():
        raise InvalidRequest(
            "the prompt is empty", 'Give a PROMPT, a file with `-f`, or pipe a text in: `llmctl ask "why?"`.'
        )
    return text
