"""Stage `preprocess`: from what was typed to the messages that the model gets, in one normal form, and the turns before them.

It alters nothing but CRLF and a leading byte order mark; the model's own chat template is the engine's.
"""

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from llmctl.errors import InvalidRequest, NotFound
from llmctl.wire import Generate
from llmctld.call import Call, Event, Link, Stage
from llmctld.history import History, Turn
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.engines.worker import ChatMessage
from llmctld.pipeline.chat import normal, normal_chat, question_of, system_of

PLACE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_-]*)\}")


def preprocess(catalog: Catalog, history: History, limit: int) -> Link:
    """`limit`: what a prompt may have once its parameters are filled in.

    Raises InvalidRequest (empty prompt, parameter without a value), NotFound (no conversation), ModelUnavailable.
    """

    def link(next_: Stage) -> Stage:
        async def stage(call: Call) -> AsyncGenerator[Event, None]:
            if call.messages:  # put together before: the hub asks by itself what a user has asked once
                call.conversation = call.id[:12]
                call.typed = typed(call.request, values_of(call.request), limit)
                _take_chat(call, catalog, call.messages)
            elif call.request.messages is not None:
                _take_chat(call, catalog, normal_chat(call.request.messages))
                _explain(call, 0)
            else:
                await _put_together(call, catalog, history, limit)
            async with aclosing(next_(call)) as events:
                async for event in events:
                    yield event

        return stage

    return link


def _take_chat(call: Call, catalog: Catalog, messages: list[ChatMessage]) -> None:
    """A chat that is whole already: it continues no conversation, and no place in it is filled."""
    request = call.request
    call.model = catalog.choose(request.model or request.default_model, "text")
    call.messages, call.prompt, call.system = messages, question_of(messages), system_of(messages)


async def _put_together(call: Call, catalog: Catalog, history: History, limit: int) -> None:
    """The messages out of the short form and the turns before."""
    request = call.request
    values = values_of(request)
    call.prompt = compose_prompt(request, values, limit)
    call.typed = typed(request, values, limit)
    turns = await _take_turn(call, history)
    call.model = catalog.choose(request.model or (turns[-1].model if turns else request.default_model), "text")
    held = turns[-1].system if turns else ""
    call.system = held if request.system is None else fill(normal(request.system), values, limit)
    call.messages = _messages(turns, call.system, call.prompt)
    _explain(call, len(turns))


def _explain(call: Call, turns: int) -> None:
    if call.request.explain:
        size = sum(len(message.content.encode()) for message in call.messages) or 4 * len(call.request.tokens or ())
        call.explain(
            "preprocess", f"model {call.entry.name}, {len(call.messages)} messages, {size} bytes, {turns} turns before"
        )


async def _take_turn(call: Call, history: History) -> list[Turn]:
    """The turns so far, held until the outcome of this one is recorded: two requests on one conversation keep their order."""
    request = call.request
    if call.fills:
        return []
    if request.conversation is None and not request.continue_last:
        call.conversation = call.id[:12]
        return []
    turn = history.turn(request.user, request.conversation)
    call.conversation, turns = await call.cleanup.enter_async_context(turn)
    if call.conversation is None:
        raise NotFound(
            f"{request.user or 'this user'} has no conversation to continue", "Ask without `--continue` first."
        )
    return turns


def _messages(turns: list[Turn], system: str, prompt: str | None) -> list[ChatMessage]:
    """The turns as they were sent, each system prompt in front of the turn from which on it holds.

    No message takes one back: a turn without any, after some, is sent without all that came before it.
    """
    messages: list[ChatMessage] = []
    held = ""
    for turn in [*turns, Turn(prompt or "", None, system, "")]:
        if turn.system != held:
            messages = messages if turn.system else [each for each in messages if each.role != "system"]
            messages += [ChatMessage("system", turn.system)] if turn.system else []
            held = turn.system
        messages += [ChatMessage("user", turn.prompt)]
        messages += [ChatMessage("assistant", turn.text)] if turn.text is not None else []
    return messages if prompt is not None else messages[:-1]


def values_of(request: Generate) -> dict[str, str]:
    """What each `{name}` stands for. Raises InvalidRequest when a declared parameter has no value."""
    values = {name: value for name, value in request.declared.items() if value is not None} | request.params
    missing = [
        name for name in request.declared if name not in values and not (name == "stdin" and request.stdin is not None)
    ]
    if missing:
        raise InvalidRequest(f"the parameter {missing[0]} has no value", f"Give it with `-p {missing[0]}=VALUE`.")
    return {name: normal(value) for name, value in values.items()}


def fill(text: str, values: Mapping[str, str], limit: int) -> str:
    """`{name}` replaced where the name has a value, in one pass; every other brace stands as it is.

    Raises InvalidRequest before it makes a text of more than `limit` characters: a short prompt may name a long value often.
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


def typed(request: Generate, values: Mapping[str, str], limit: int) -> str | None:
    """The question, where files or stdin are what it is about; None where there are none, or nothing was typed."""
    if request.stdin is None and not request.files:
        return None
    return fill(normal(request.prompt or ""), values, limit).strip() or None


def body(text: str, raw: bool) -> str:
    """Of a file or of stdin: without the end of its last line."""
    return normal(text) if raw else normal(text).removesuffix("\n")


def compose_prompt(request: Generate, values: Mapping[str, str], limit: int) -> str | None:
    """PROMPT, each file under its name, stdin, with an empty line between; None for a prompt of token ids."""
    if request.tokens is not None:
        return None
    prompt, stdin = normal(request.prompt or ""), request.stdin
    placed = "stdin" not in values and any(place[1] == "stdin" for place in PLACE.finditer(prompt))
    if placed and stdin is None:
        raise InvalidRequest(
            "the prompt holds {stdin}, and there is no stdin", "Pipe the text in: `cat FILE | llmctl ask ...`."
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
