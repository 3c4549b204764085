"""Converts one event of an endpoint's answer, in any of the known forms, to one strict form: its content, its end, its
error.

Knows how servers with OpenAI's API write each of these; knows nothing of other events.
"""

from collections.abc import Iterable
from typing import Any

import msgspec

from llmctld.engine.messages import Scored
from llmctld.models.remote.http import refusal
from llmctld.models.remote.http.breaker import ServerMessage
from llmctld.models.remote.http.lenient_json import count, encodable, loads, mapping, number

DONE = "[DONE]"
ERRORS = ("error", "response.error", "response.failed")
"""Event names and object types that mean a failure."""
SAME_REASON = {
    "eos": "stop", "eos_token": "stop", "end_turn": "stop", "stop_sequence": "stop", "stop_str": "stop", "completed": "stop",
    "max_tokens": "length", "max_length": "length", "max_output_tokens": "length", "model_length": "length",
    "content_filtered": "content_filter", "safety": "content_filter", "recitation": "content_filter", "blocklist":
    "content_filter", "prohibited_content": "content_filter", "sensitive": "content_filter", "spii": "content_filter",
    "null": "", "none": "",
}  # fmt: skip
"""finish_reason of other servers -> ours."""
THOUGHTS = ("reasoning_content", "reasoning", "thinking", "reasoning_text", "reasoning_details")
"""Fields with reasoning. A message with several of them repeats the same text."""
NOT_ANSWERED = frozenset(
    {"thinking", "reasoning", "reasoning.text", "reasoning.summary", "summary_text", "reasoning_text"}
)
"""Types of content parts that are reasoning."""


class Unreadable(ValueError):
    """The event has no known form."""


class AnswerChunk(msgspec.Struct, frozen=True):
    """The content of an event. `text` and `thought` may start or end with half a surrogate pair.

    `choice`: index of the answer. Token counts are None if the event has none.
    """

    text: str = ""
    thought: str = ""
    reason: str | None = None
    scored: list[Scored] = []
    choice: int = 0
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    error: ServerMessage | None = None
    done: bool = False


def read(data: bytes, kind: str = "") -> list[AnswerChunk]:
    """The chunks of an event with the name `kind`: usually one, none for a keep-alive. Raises Unreadable."""
    words = data.decode(errors="replace").strip()
    if words.strip('"').upper().startswith(DONE):
        return [AnswerChunk(done=True)]
    if kind in ERRORS:
        return [AnswerChunk(error=refusal.read(data))]
    if not words:
        return []
    try:
        found = loads(data)
    except ValueError as error:
        if kind:  # a "ping" in plain text
            return []
        raise Unreadable(f"{error}: {words[:80]}") from error
    several = found if isinstance(found, list) else [found]
    return [chunk for each in several if each is not None for chunk in _object(each)]


def _object(found: Any) -> Iterable[AnswerChunk]:
    if not isinstance(found, dict):
        raise Unreadable(f"an object was expected, not {_shown(found)}")
    choices = found.get("choices")
    if choices is not None and not isinstance(choices, list):
        raise Unreadable(f"`choices` is {_shown(choices)}")
    read = [_choice(each) for each in choices or [] if each is not None]
    error = _error(found) or next((chunk.error for chunk in read if chunk.error), None)
    usage = found.get("usage") or mapping(found.get("x_groq")).get("usage") or _usage_within(choices or [])
    if usage or not read:
        read.append(_usage(mapping(usage)))
    if error is not None:
        read.append(AnswerChunk(error=error))
    return read


def _error(found: dict[str, Any]) -> ServerMessage | None:
    """The error in an object, in any form. A normal answer may contain every error field but `error`, with an empty
    value.
    """
    if found.get("error") or found.get("errors"):
        return refusal.of_json(found)
    if found.get("choices"):
        return None
    status = mapping(found.get("base_resp"))
    if status.get("status_code"):
        return refusal.of_json({"message": status.get("status_msg"), "code": status["status_code"]})
    named = found.get("object") in ERRORS or found.get("type") in ERRORS
    worded = any(isinstance(said := found.get(name), str | list) and said for name in refusal.WORDS_IN)
    return refusal.of_json(found) if named or worded else None


def _choice(choice: Any) -> AnswerChunk:
    if not isinstance(choice, dict):
        raise Unreadable(f"a choice is {_shown(choice)}")
    message = choice.get("delta") or choice.get("message") or {}
    if not isinstance(message, dict):
        raise Unreadable(f"the message of a choice is {_shown(message)}")
    text, thought = _split(choice.get("text"))
    if not text:
        text, within = _split(message.get("content"))
        thought += within
    other = next((said for name in THOUGHTS if (said := _thought(message.get(name)))), "")
    error = choice.get("error")
    return AnswerChunk(
        text=text or "".join(_split(message.get("refusal"))),
        thought=thought + other,
        reason=_reason(choice.get("finish_reason")),
        scored=_scored(choice.get("logprobs")),
        choice=count(choice.get("index")) or 0,
        error=refusal.of_json({"error": error}) if error else None,
    )


def _split(content: Any) -> tuple[str, str]:
    """(text, reasoning) of a string or of content parts."""
    if content is None or isinstance(content, str):
        return content or "", ""
    if isinstance(content, list):
        parts = [_split(part) for part in content]
        return "".join(text for text, _ in parts), "".join(thought for _, thought in parts)
    if not isinstance(content, dict):
        raise Unreadable(f"a text is {_shown(content)}")
    kind = content.get("type")
    names = (
        ("thinking", "reasoning", "summary", "text")
        if kind in NOT_ANSWERED
        else ("text", "refusal", "content", "value")
    )
    within = next((content[name] for name in names if content.get(name)), None)
    text, thought = _split(within)
    return ("", text + thought) if kind in NOT_ANSWERED else (text, thought)


def _thought(value: Any) -> str:
    if isinstance(value, list):
        return "".join(map(_thought, value))
    if isinstance(value, dict):
        return _thought(
            next((value[name] for name in ("text", "summary", "content", "thinking") if value.get(name)), None)
        )
    return value if isinstance(value, str) else ""


def _reason(value: Any) -> str | None:
    if isinstance(value, dict):
        value = value.get("type") or value.get("reason")
    if not isinstance(value, str):
        return None
    plain = encodable(value).strip().lower()
    return SAME_REASON.get(plain, plain) or None


def _usage(usage: dict[str, Any]) -> AnswerChunk:
    details = mapping(usage.get("prompt_tokens_details") or usage.get("input_tokens_details"))
    return AnswerChunk(
        prompt_tokens=_first(usage, "prompt_tokens", "input_tokens"),
        completion_tokens=_first(usage, "completion_tokens", "output_tokens"),
        cached_tokens=_first(details | usage, "cached_tokens", "prompt_cache_hit_tokens"),
    )


def _usage_within(choices: list[Any]) -> Any:
    """Usage inside a choice, where some servers put it."""
    return next((choice["usage"] for choice in choices if isinstance(choice, dict) and choice.get("usage")), None)


def _first(found: dict[str, Any], *names: str) -> int | None:
    return next((number for name in names if (number := count(found.get(name))) is not None), None)


def _scored(logprobs: Any) -> list[Scored]:
    """Log-probabilities in chat form (an object per token) or in the older form (a list per field); [] for any other
    form.
    """
    found = mapping(logprobs)
    try:
        if found.get("content") is not None:
            return [
                Scored(encodable(each["token"]), float(each["logprob"]), _likeliest(each.get("top_logprobs")))
                for each in found["content"]
            ]
        tokens = found.get("tokens") or []
        tops = found.get("top_logprobs") or [None] * len(tokens)
        return [
            Scored(encodable(token), float(logprob), _likeliest(top))
            for token, logprob, top in zip(tokens, found["token_logprobs"], tops, strict=True)
            if logprob is not None
        ]
    except (KeyError, TypeError, ValueError, AttributeError):
        return []


def _likeliest(top: Any) -> list[tuple[str, float]]:
    pairs = top.items() if isinstance(top, dict) else [(each["token"], each["logprob"]) for each in top or []]
    scored = [(encodable(token), found) for token, logprob in pairs if (found := number(logprob)) is not None]
    return sorted(scored, key=lambda pair: -pair[1]) if isinstance(top, dict) else scored


def _shown(value: Any) -> str:
    return encodable(repr(value))[:80]
