"""Stage `validate`: the one place where the range of a field is checked; the message names field, value and range."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from llmctl.config import LONGEST_S, Limits, check_name
from llmctl.errors import InvalidRequest, Usage
from llmctl.wire import CACHE_MODES, PRIORITIES, THINK, Generate
from llmctld.call import Call, Event, Link, Stage
from llmctld.pipeline.chat import check_chat, texts_of


def between(low: float, high: float) -> tuple[Callable[[Any], bool], str]:
    return lambda value: low <= value <= high, f"between {low} and {high}"


def one_of(*words: str) -> tuple[Callable[[Any], bool], str]:
    return lambda value: value in words, f"one of {', '.join(words)}"


RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_tokens": between(1, 2**31 - 1),
    "temperature": between(0, 2),
    "top_p": (lambda value: 0 < value <= 1, "above 0 and at most 1"),
    "top_k": between(0, 2**31 - 1),
    "min_p": between(0, 1),
    "repeat_penalty": (lambda value: 0 < value <= 10, "above 0 and at most 10"),
    "presence_penalty": between(-2, 2),
    "frequency_penalty": between(-2, 2),
    "seed": between(0, 2**32 - 1),
    "max_age": (lambda value: value >= 0, "0 seconds or more"),
    "extract": one_of("first", "last"),
    "n": between(1, 64),
    "logprobs": between(0, 20),
    "cache": one_of(*CACHE_MODES),
    "adapters": (
        lambda value: all(-100 <= scale <= 100 for scale in value.values()),
        "scales between -100 and 100",
    ),
    "priority": one_of(*PRIORITIES),
    "think": one_of(*THINK),
    "overflow": one_of("error", "head", "middle", "tail"),
    "user": (lambda value: value.isprintable() and len(value) <= 128, "at most 128 printable characters"),
    "keep_alive": (lambda value: 0 <= value <= LONGEST_S or value == -1, f"0 to {LONGEST_S} seconds, or -1 (for ever)"),
    "tags": (
        lambda value: all(tag.strip() and tag.isprintable() for tag in value),
        "printable words that are not empty",
    ),
    "stop": (all, "texts that are not empty"),
    "logit_bias": (lambda value: all(-100 <= bias <= 100 for bias in value.values()), "biases between -100 and 100"),
}
"""Field -> (is this value in range?, the range in words). A field that is None was not given. NaN is in no range."""


def validate(limits: Limits) -> Link:
    """Raises InvalidRequest, or Usage where two fields exclude each other."""

    def link(next_: Stage) -> Stage:
        async def stage(call: Call) -> AsyncGenerator[Event, None]:
            check(call.request, limits)
            if call.fills and call.charge is None:
                check_fills(call.request, call.given)
            async with aclosing(next_(call)) as events:
                async for event in events:
                    yield event

        return stage

    return link


def check_field(name: str, value: Any) -> None:
    """Raises InvalidRequest where the value is not in the field's range."""
    in_range, words = RANGES[name]
    if value is not None and not in_range(value):
        raise InvalidRequest(f"{name} is {value!r}; it must be {words}")


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


def check_fills(request: Generate, given: str | None) -> None:
    """What is warmed is one question by itself, whose answer the next one who asks can be served."""
    if request.conversation is not None or request.continue_last:
        raise InvalidRequest("an answer within a conversation depends on the turns before it", "Ask without one.")
    if request.cache in ("skip", "only"):
        raise InvalidRequest(f"cache is {request.cache!r}, and what is warmed is to be stored")
    if given is not None and (request.n or 1) > 1:
        raise InvalidRequest(f"n is {request.n}, and one answer was given", "Leave out n, or the answer.")
    if given is not None and not given.strip():
        raise InvalidRequest("the answer that was given is empty")


def _prompt_bytes(request: Generate) -> int:
    texts = [request.prompt, request.stdin, request.system, *(file.text for file in request.files), *request.params.values(),
             *request.declared.values(), *(text for message in request.messages or () for text in texts_of(message))]  # fmt: skip
    return sum(len(text.encode()) for text in texts if text) + 8 * len(request.tokens or request.messages or ())
