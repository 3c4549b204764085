"""Stage `validate`: refuses a request with a field out of range, or with fields that exclude each other."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from llmctl.config import Limits, check_name
from llmctl.errors import InvalidRequest, Usage
from llmctl.wire import Generate
from llmctld.call.call import Call, Event, Link, Stage
from llmctld.call.chat import check_chat, texts_of
from llmctld.call.origin import Purpose
from llmctld.call.ranges import RANGES, check_field


def validate(limits: Limits) -> Link:
    """Raises InvalidRequest, or Usage where two fields exclude each other."""

    def link(next_: Stage) -> Stage:
        async def stage(call: Call) -> AsyncGenerator[Event, None]:
            check(call.request, limits)
            if call.origin.purpose is Purpose.WARM:
                check_warm(call.request, call.supplied)
            async with aclosing(next_(call)) as events:
                async for event in events:
                    yield event

        return stage

    return link


def check(request: Generate, limits: Limits) -> None:
    for name in RANGES:
        check_field(name, getattr(request, name))
    check_chat(request)
    if request.schema is not None and request.grammar is not None:
        raise Usage("a schema and a grammar exclude each other", "Give one of the two.")
    if request.conversation is not None:
        check_name("conversation", request.conversation)
        if request.continue_last:
            raise InvalidRequest("--continue and --conversation exclude each other", "Give one of the two.")
    if request.tokens is not None:
        if not request.tokens or min(request.tokens) < 0:
            raise InvalidRequest("tokens must be a list of token ids, none below 0, and not empty")
        if (
            request.prompt is not None
            or request.stdin is not None
            or request.files
            or request.conversation
            or request.continue_last
        ):
            raise InvalidRequest("tokens exclude a prompt, files, stdin and a conversation", "Give one or the other.")
    size = _prompt_bytes(request)
    if size > limits.prompt_bytes:
        raise InvalidRequest(
            f"the prompt has {size} bytes; limits.prompt_bytes is {limits.prompt_bytes}",
            "Shorten it, or raise `limits.prompt_bytes` in the configuration.",
        )


def check_warm(request: Generate, supplied: str | None) -> None:
    """A request of `cache warm` must be one whose stored answer a later request can be served."""
    if request.conversation is not None or request.continue_last:
        raise InvalidRequest("an answer within a conversation depends on the turns before it", "Omit the conversation.")
    if request.cache in ("skip", "only"):
        raise InvalidRequest(f"cache is {request.cache!r}, but `cache warm` has to store the answer", "Omit `cache`.")
    if supplied is not None and (request.n or 1) > 1:
        raise InvalidRequest(f"n is {request.n}, but one answer is given", "Omit `n` or `text`.")
    if supplied is not None and not supplied.strip():
        raise InvalidRequest("the given answer is empty", "Omit `text` to have the answer generated.")


def _prompt_bytes(request: Generate) -> int:
    texts = [request.prompt, request.stdin, request.system, *(file.text for file in request.files), *request.params.values(),
             *request.declared.values(), *(text for message in request.messages or () for text in texts_of(message))]  # fmt: skip
    return sum(len(text.encode()) for text in texts if text) + 8 * len(request.tokens or request.messages or ())
