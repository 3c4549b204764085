"""Stage `preprocess`: from what was typed to the messages that the model gets, in one normal form, and the turns before them.

It alters nothing but CRLF and a leading byte order mark; the model's own chat template is the engine's.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from llmctl.config import ModelEntry
from llmctl.errors import NotFound, counted
from llmctl.wire import Generate
from llmctld.call.call import Call, Event, Link, Stage
from llmctld.call.chat import normal, normal_chat, question_of, system_of
from llmctld.call.prompt import compose_prompt, fill, typed_question, values_of
from llmctld.history import History, Turn
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.engines.ticket import ChatMessage


def preprocess(catalog: Catalog, history: History, limit: int) -> Link:
    """`limit`: what a prompt may have once its parameters are filled in.

    Raises InvalidRequest (empty prompt, parameter without a value), NotFound (no conversation), ModelUnavailable.
    """

    def link(next_: Stage) -> Stage:
        async def stage(call: Call) -> AsyncGenerator[Event, None]:
            if call.messages:  # the hub repeats a user's request, whose messages are known
                call.conversation = call.id[:12]
                call.typed = typed_question(call.request, values_of(call.request), limit)
                _take_chat(call, catalog, call.messages)
            elif call.request.messages is not None:
                _take_chat(call, catalog, normal_chat(call.request.messages))
                _explain(call, 0)
            else:
                await _compose(call, catalog, history, limit)
            async with aclosing(next_(call)) as events:
                async for event in events:
                    yield event

        return stage

    return link


def _take_chat(call: Call, catalog: Catalog, messages: list[ChatMessage]) -> None:
    """Takes the messages as they are: no conversation is continued, no parameter filled in."""
    request = call.request
    call.model = _model(catalog, request, [])
    call.messages, call.prompt, call.system = messages, question_of(messages), system_of(messages)


def _model(catalog: Catalog, request: Generate, turns: list[Turn]) -> ModelEntry:
    """The model that is named, else that of the turn before, else the default; else the guide, if the request takes it.

    Raises ModelUnavailable.
    """
    guide = catalog.guide
    held = turns[-1].model if turns else None
    if guide is not None and held == guide.name:  # a model that was added since answers in its place
        held = None
    name = request.model or held or request.default_model
    if name is None and request.guide and guide is not None and not catalog.has_text_model:
        return guide
    return catalog.choose(name, "text")


async def _compose(call: Call, catalog: Catalog, history: History, limit: int) -> None:
    """Makes the messages from the prompt and the turns before it."""
    request = call.request
    values = values_of(request)
    call.prompt = compose_prompt(request, values, limit)
    call.typed = typed_question(request, values, limit)
    turns = await _take_turn(call, history)
    call.model = _model(catalog, request, turns)
    if catalog.is_guide(call.model):
        turns = []  # it reads each question by itself
    held = turns[-1].system if turns else ""
    call.system = held if request.system is None else fill(normal(request.system), values, limit)
    call.messages = _messages(turns, call.system, call.prompt)
    _explain(call, len(turns))


def _explain(call: Call, turns: int) -> None:
    if call.request.explain:
        size = sum(len(message.content.encode()) for message in call.messages) or 4 * len(call.request.tokens or ())
        call.explain(
            "preprocess",
            f"model {call.entry.name}, {counted(len(call.messages), 'message')}, {size} bytes, {counted(turns, 'earlier turn')}",
        )


async def _take_turn(call: Call, history: History) -> list[Turn]:
    """The turns so far. The conversation is held until this turn is recorded, so that concurrent requests keep their order."""
    request = call.request
    if call.origin.fills_cache:
        return []
    if request.conversation is None and not request.continue_last:
        call.conversation = call.id[:12]
        return []
    turn = history.lock_conversation(request.user, request.conversation)
    call.conversation, turns = await call.cleanup.enter_async_context(turn)
    if call.conversation is None:
        raise NotFound(
            f"{request.user or 'this user'} has no conversation to continue", "Ask without `--continue` first."
        )
    return turns


def _messages(turns: list[Turn], system: str, prompt: str | None) -> list[ChatMessage]:
    """The turns as messages, each system prompt before the first turn that it applies to.

    No message can withdraw a system prompt: from a turn without one on, all earlier ones are left out.
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
