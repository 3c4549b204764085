"""The language of endpoints of the OpenAI kind: from a Submit to a path and a body.

It knows no connection and no answer. What cannot be said in it is refused, never left out; a field that nobody set is not sent.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from llmctl.errors import InvalidRequest
from llmctld.engine.messages import ChatMessage, Submit
from llmctld.models.remote.http import phrases, refusal
from llmctld.models.remote.systems import folded

Body = dict[str, Any]

SAME = ("temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "seed")
"""Fields that are called so everywhere."""
EFFORTS = {"on": "medium", "off": "none"}
"""Words about thinking that are others there."""
LEAVE_OUT = "Leave it out, or ask a model that runs here."


class HttpRequest(NamedTuple):
    path: str
    body: Body


def ask(submit: Submit, model: str, takes_grammar: bool, options: dict[str, Any] | None = None) -> HttpRequest:
    """`options`: what the endpoint's chat template may name. Raises InvalidRequest for what no such endpoint can do."""
    _refuse(submit, takes_grammar)
    body: Body = {"model": model, "stream": True, "stream_options": {"include_usage": True}}
    body["max_tokens"] = submit.max_tokens
    body |= {name: value for name in SAME if (value := getattr(submit, name)) is not None}
    if submit.repeat_penalty is not None:  # llama-server and vLLM call it differently, and pass over the other's word
        body |= {"repeat_penalty": submit.repeat_penalty, "repetition_penalty": submit.repeat_penalty}
    if submit.stop:
        body["stop"] = submit.stop
    if submit.logit_bias:
        body["logit_bias"] = submit.logit_bias
    if submit.ignore_eos:
        body["ignore_eos"] = True
    if submit.grammar is not None:
        body["grammar"] = submit.grammar
    if submit.schema is not None:
        schema = {"name": "answer", "schema": msgspec.json.decode(submit.schema), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if options and not submit.raw and submit.tokens is None:
        body["chat_template_kwargs"] = options
    if submit.think is not None:
        body["reasoning_effort"] = EFFORTS.get(submit.think, submit.think)
    return _legacy(submit, body) if submit.raw or submit.tokens is not None else _chat(submit, body)


def say(submit: Submit, body: Body) -> None:
    """Other messages in the place of those that were asked before."""
    body["prompt" if "prompt" in body else "messages"] = _text(submit) if "prompt" in body else said(submit.messages)


class Said(ChatMessage):
    """A message in the words of llama-server, vLLM and DeepSeek."""

    reasoning: str | None = msgspec.field(default=None, name="reasoning_content")


def said(messages: list[ChatMessage]) -> list[Said]:
    return [Said(**{name: getattr(message, name) for name in Said.__struct_fields__}) for message in messages]


def _text(submit: Submit) -> str:
    return "\n\n".join(message.content for message in submit.messages)


def _chat(submit: Submit, body: Body) -> HttpRequest:
    if submit.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": submit.logprobs}
    return HttpRequest("/chat/completions", body | {"messages": said(submit.messages)})


def _legacy(submit: Submit, body: Body) -> HttpRequest:
    """A text, or tokens, as they stand: what has no chat template in front of it."""
    if submit.logprobs is not None:
        body["logprobs"] = submit.logprobs
    return HttpRequest("/completions", body | {"prompt": _text(submit) if submit.tokens is None else submit.tokens})


def _refuse(submit: Submit, takes_grammar: bool) -> None:
    word = next((token for token in submit.logit_bias if not token.isdecimal()), None)
    if submit.adapters:
        raise InvalidRequest("a remote model takes no adapter: its server chooses them when it is started", LEAVE_OUT)
    if submit.think is not None and (submit.raw or submit.tokens is not None):
        message = f"think is {submit.think!r}, and a raw prompt has no chat template that could be told"
        raise InvalidRequest(message, "Ask without `--think`, or without `--raw`.")
    if submit.repro:
        raise InvalidRequest("a remote model cannot promise the same bytes each time (repro)", LEAVE_OUT)
    if word is not None:
        message = f"logit_bias is for the token {word!r}: a remote model's tokens are known by their numbers only"
        raise InvalidRequest(message, "Give the token's number.")
    if submit.grammar is not None and not takes_grammar:
        hint = "Where it is a llama-server, `--set takes_grammar=true` says so; any endpoint may take a `--schema`."
        raise InvalidRequest("a grammar is known to llama-server only, and this endpoint may be another", hint)


# ---- what a server does not take ------------------------------------------------------------------------------------


class Quirk(NamedTuple):
    """What some servers refuse, by `words` in the refusal, and how it is said to them. `mend` is False where it is not there."""

    words: str
    mend: Callable[[Body], bool]


def _no_stream_options(body: Body) -> bool:
    return body.pop("stream_options", None) is not None


def _max_completion_tokens(body: Body) -> bool:
    if "max_tokens" not in body:
        return False
    body["max_completion_tokens"] = body.pop("max_tokens")
    return True


def _json_object(body: Body) -> bool:
    """How llama.cpp's Python server, and others before they took the newer form, are given a schema."""
    form = body.get("response_format", {})
    if form.get("type") != "json_schema":
        return False
    body["response_format"] = {"type": "json_object", "schema": form["json_schema"]["schema"]}
    return True


def _system_first(body: Body) -> bool:
    """Of a server whose chat template takes no system message behind turns."""
    was = body.get("messages", [])
    found = folded(was)
    if len(found) == len(was):
        return False
    body["messages"] = found
    return True


def _no_reasoning(body: Body) -> bool:
    """For a server that refuses the reasoning of earlier turns."""
    was = body.get("messages", [])
    body["messages"] = [msgspec.structs.replace(message, reasoning=None) for message in was]
    return any(message.reasoning for message in was)


QUIRKS = (
    Quirk(phrases.STREAM_OPTIONS, _no_stream_options),
    Quirk(phrases.MAX_COMPLETION_TOKENS, _max_completion_tokens),
    Quirk(phrases.JSON_OBJECT, _json_object),
    Quirk(phrases.REASONING_CONTENT, _no_reasoning),
    *(Quirk(words, _system_first) for words in phrases.SYSTEM_FIRST),
)


def quirk_in(words: str, body: Body) -> Quirk | None:
    """The one that a refusal names, once it is mended in `body`."""
    return next((quirk for quirk in QUIRKS if quirk.words in words and quirk.mend(body)), None)


def unstream(body: Body) -> bool:
    """Asks for the answer in one piece."""
    body.pop("stream_options", None)
    was, body["stream"] = body["stream"], False
    return bool(was)


def fit(words: str, body: Body) -> bool:
    """Asks for as many tokens as the refusal says there is room for; False where the prompt itself is too long."""
    name = "max_tokens" if "max_tokens" in body else "max_completion_tokens"
    left = refusal.room(words)
    if left is None or left >= body[name]:
        return False
    body[name] = left
    return True
