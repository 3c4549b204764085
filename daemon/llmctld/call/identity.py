"""Which requests are equal: the key under which an answer is stored, and the wall, the key of everything but the question.

It covers every field of a request that changes the answer. call/reuse.py decides whether answers are stored or served.
"""

import hashlib
from typing import Any

import msgspec

from llmctl.config import ModelSettings
from llmctld.cache.entries.context import template_of
from llmctld.call.call import Call
from llmctld.models.catalogue.catalog import AdapterUse, Catalog
from llmctld.models.engines.ticket import ChatMessage

KEY_FORMAT = 2
"""Raised when the meaning of a stored answer changes. 2: what was typed is text, and forges no turns."""


class Identity(msgspec.Struct, array_like=True):
    """Everything that an answer depends on. Requests with equal identities may share an answer."""

    format: int
    model: str
    settings: ModelSettings
    messages: list[ChatMessage]
    tokens: list[int] | None
    raw: bool
    sampling: list[Any]
    stop: list[str]
    logit_bias: list[tuple[str, float]]
    ignore_eos: bool
    extract: str | None
    repro: bool
    scope: list[str]
    adapters: list[AdapterUse] = []
    schema: str | None = None
    grammar: str | None = None
    logprobs: int | None = None
    n: int = 1


SAMPLING = (
    "max_tokens", "temperature", "top_p", "top_k", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty", "seed",
    "think",
)  # fmt: skip


def key_of(call: Call, catalog: Catalog, scope: list[str]) -> str:
    """32 hexadecimal digits. `scope` names further fields of the request that must be equal."""
    return _digest(_identity(call, catalog, scope))


def wall_of(call: Call, catalog: Catalog, scope: list[str]) -> str:
    """The key of everything that must be equal, except the question. Questions with the same wall may be compared with each
    other; walls separate all others.

    The question is the last message, or the typed text where files or stdin accompany it: compared as a whole, a long
    document would drown the few typed words."""
    identity, request = _identity(call, catalog, scope), call.request
    documents = (
        [] if call.typed is None else [*((file.name, file.text) for file in request.files), ("", request.stdin or "")]
    )
    about = [ChatMessage(f"document {name}", text) for name, text in documents]
    return _digest(msgspec.structs.replace(identity, messages=[*identity.messages[:-1], *about]))


def _identity(call: Call, catalog: Catalog, scope: list[str]) -> Identity:
    request = call.request
    return Identity(
        format=KEY_FORMAT,
        model=catalog.identity(call.entry),
        settings=catalog.settings(call.entry).computing(),
        messages=call.messages,
        tokens=request.tokens,
        raw=request.raw,
        sampling=[*(getattr(request, name) for name in SAMPLING), *_cut(request.overflow)],
        stop=request.stop,
        logit_bias=sorted(request.logit_bias.items()),
        ignore_eos=request.ignore_eos,
        extract=request.extract,
        repro=request.repro,
        adapters=catalog.adapters(call.entry, request.adapters),
        schema=request.schema,
        grammar=request.grammar,
        logprobs=request.logprobs,
        n=request.n or 1,
        scope=[str(getattr(request, name)) for name in scope],
    )


def _cut(overflow: str | None) -> list[str]:
    """Empty where nothing is cut, so that such requests keep the keys that they had before `--overflow` existed."""
    return [] if overflow in (None, "error") else [str(overflow)]


def _digest(identity: Identity) -> str:
    return hashlib.blake2b(msgspec.msgpack.encode(identity, enc_hook=str), digest_size=16).hexdigest()


def template(call: Call) -> str:
    """Identifies the template that the prompt was made from; empty: none."""
    request = call.request
    system = request.system if request.messages is None else call.system
    return template_of(system, request.prompt, bool(request.declared or request.params))
