"""Converts a request to the path and body of OpenAI's HTTP API.

Refuses what the API cannot express, never drops it; sends no field that is not set.
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
"""Fields with the same name in the API."""
EFFORTS = {"on": "medium", "off": "none"}
"""Our values for reasoning effort -> the API's."""
LEAVE_OUT = "Omit it, or use a model that runs here."


class HttpRequest(NamedTuple):
    path: str
    body: Body


def request_of(submit: Submit, model: str, takes_grammar: bool, options: dict[str, Any] | None = None) -> HttpRequest:
    """`options`: variables for the endpoint's chat template. Raises InvalidRequest for what no endpoint supports."""
    _refuse(submit, takes_grammar)
    body: Body = {"model": model, "stream": True, "stream_options": {"include_usage": True}}
    body["max_tokens"] = submit.max_tokens
    body |= {name: value for name in SAME if (value := getattr(submit, name)) is not None}
    if submit.repeat_penalty is not None:  # llama-server and vLLM use different names, and ignore the other's
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


def set_messages(submit: Submit, body: Body) -> None:
    """Replaces the messages in `body`."""
    body["prompt" if "prompt" in body else "messages"] = (
        _text(submit) if "prompt" in body else messages_json(submit.messages)
    )


class ApiMessage(ChatMessage):
    """A message in the words of llama-server, vLLM and DeepSeek."""

    reasoning: str | None = msgspec.field(default=None, name="reasoning_content")


def messages_json(messages: list[ChatMessage]) -> list[ApiMessage]:
    return [
        ApiMessage(**{name: getattr(message, name) for name in ApiMessage.__struct_fields__}) for message in messages
    ]


def _text(submit: Submit) -> str:
    return "\n\n".join(message.content for message in submit.messages)


def _chat(submit: Submit, body: Body) -> HttpRequest:
    if submit.logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": submit.logprobs}
    return HttpRequest("/chat/completions", body | {"messages": messages_json(submit.messages)})


def _legacy(submit: Submit, body: Body) -> HttpRequest:
    """A completion of raw text or tokens, without a chat template."""
    if submit.logprobs is not None:
        body["logprobs"] = submit.logprobs
    return HttpRequest("/completions", body | {"prompt": _text(submit) if submit.tokens is None else submit.tokens})


def _refuse(submit: Submit, takes_grammar: bool) -> None:
    word = next((token for token in submit.logit_bias if not token.isdecimal()), None)
    if submit.adapters:
        raise InvalidRequest("a remote model does not support adapters: its server chooses them at start", LEAVE_OUT)
    if submit.think is not None and (submit.raw or submit.tokens is not None):
        message = f"think is {submit.think!r}, but a raw prompt has no chat template to pass it to"
        raise InvalidRequest(message, "Omit `--think` or `--raw`.")
    if submit.repro:
        raise InvalidRequest("a remote model cannot guarantee identical output (repro)", LEAVE_OUT)
    if word is not None:
        message = f"logit_bias names the token {word!r}: the tokens of a remote model are known by number only"
        raise InvalidRequest(message, "Give the token's number.")
    if submit.grammar is not None and not takes_grammar:
        hint = "If the endpoint is a llama-server, set `--set takes_grammar=true`; any endpoint supports `--schema`."
        raise InvalidRequest("only llama-server supports a grammar, and this endpoint may be another server", hint)


# ---- what a server does not accept ----------------------------------------------------------------------------------


class Quirk(NamedTuple):
    """A field that some servers refuse. `words`: text in the refusal; `mend`: changes the body, False if there is
    nothing to change.
    """

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
    """The older form of a schema, as in llama-cpp-python's server."""
    form = body.get("response_format", {})
    if form.get("type") != "json_schema":
        return False
    body["response_format"] = {"type": "json_object", "schema": form["json_schema"]["schema"]}
    return True


def _system_first(body: Body) -> bool:
    """For a server whose chat template accepts a system message only at the start."""
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
    """The quirk that a refusal names, already mended in `body`."""
    return next((quirk for quirk in QUIRKS if quirk.words in words and quirk.mend(body)), None)


def disable_streaming(body: Body) -> bool:
    """Requests the answer without streaming. False: it was so already."""
    body.pop("stream_options", None)
    was, body["stream"] = body["stream"], False
    return bool(was)


def lower_max_tokens(words: str, body: Body) -> bool:
    """Lowers max_tokens to the room that the refusal names. False: the prompt itself is too long."""
    name = "max_tokens" if "max_tokens" in body else "max_completion_tokens"
    left = refusal.room(words)
    if left is None or left >= body[name]:
        return False
    body[name] = left
    return True
