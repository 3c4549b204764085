"""The chat template of a model's file: messages in, the text that the model was trained to read out.

It runs a program of somebody else's in a sandbox, and knows neither tokens nor what the text is for.
"""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from llmctld.engine.backend import Refusal
from llmctld.engine.messages import ChatMessage

RAW_HINT = "Ask with `--raw` to send the prompt without the template."
SYSTEM_HINT = "This model's template takes no system message: put it into the prompt instead."


class Generation(Extension):
    """`{% generation %}` marks what the assistant said, for training; when asking it means nothing."""

    tags = {"generation"}  # noqa: RUF012 - declared so by jinja2

    def parse(self, parser: Parser) -> list[Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class Template:
    """`bos` and `eos` are the texts of those tokens, empty where the model has none."""

    def __init__(self, source: str, bos: str = "", eos: str = "") -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
        )
        environment.filters["tojson"] = _tojson
        environment.globals.update(raise_exception=_raise, strftime_now=_strftime_now, bos_token=bos, eos_token=eos)
        self._broken = ""
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            self._broken = str(error)  # told to whoever asks with it: `--raw` works without a template

    def render(self, messages: list[ChatMessage]) -> str:
        """The text up to where the assistant's answer begins; raises Refusal with the template's own words."""
        if self._broken:
            raise Refusal("invalid_request", f"the model's chat template is broken: {self._broken}", RAW_HINT)
        return rendered(self._text, messages)

    def _text(self, messages: list[ChatMessage]) -> str:
        plain = [{"role": message.role, "content": message.content} for message in messages]
        # transformers always passes tools and documents: templates test them for none, not for being there
        return self._template.render(messages=plain, tools=None, documents=None, add_generation_prompt=True)


def rendered(text: Callable[[list[ChatMessage]], str], messages: list[ChatMessage]) -> str:
    """What a template makes of the messages; raises Refusal with its own words, and with what it may not take."""
    try:
        return text(messages)
    except Exception as error:
        others = [message for message in messages if message.role != "system"]
        hint = SYSTEM_HINT if len(others) < len(messages) and _takes(text, others) else RAW_HINT
        raise Refusal("invalid_request", f"the model's chat template refuses: {error}", hint) from error


def _takes(text: Callable[[list[ChatMessage]], str], messages: list[ChatMessage]) -> bool:
    try:
        text(messages)
    except Exception:  # noqa: BLE001 - a template may raise anything
        return False
    return True


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)


def _tojson(value: Any, indent: int | None = None, **options: Any) -> str:
    """Jinja's own escapes for HTML, which no model was trained on."""
    return json.dumps(value, ensure_ascii=options.pop("ensure_ascii", False), indent=indent, **options)
