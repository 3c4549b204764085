"""A model's chat template: renders messages to the text that the model was trained on.

What it supports (system messages, tool lists, thinking options) is found out once, by rendering. It knows no tokens.
"""

from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any

from msgspec.structs import replace

from llmctld.engine.errors import Refusal
from llmctld.engine.messages import ChatMessage, Submit
from llmctld.engine.prompt.chat import SHOWN, TOOLS, plain, refused_tools, uses_tools
from llmctld.engine.prompt.markers import Rendered
from llmctld.engine.prompt.prompt import Prompt
from llmctld.engine.prompt.tags import ReasoningTags, derive
from llmctld.engine.prompt.thinking import Thinking, ThinkingInput
from llmctld.engine.sandbox.process import TemplateProcess, Unrendered

ORDER_HINT = "Order the messages as the template requires; most need user and assistant messages in turn."
RAW_HINT = "`--raw` sends the prompt without the template."
MERGED = (
    "its chat template does not accept a system message; the system prompt is put at the beginning of the first message"
)
PROBE, SYSTEM = "qx7question", "qx7system"
WANTED: tuple[dict[str, Any], ...] = (
    {}, {"tools": []}, {"functions": []}, {"tools": [], "functions": []},
    {"tools": [], "functions": [], "documents": []}, {"functions": "[]", "datetime": ""},
)  # fmt: skip
"""Variables that a template may require; the first set with which it renders is used. A `datetime` is the current date only: a
prompt that changes every second is never cached."""


@dataclass
class TemplateTraits:
    """What was found out about a template. `broken`: why it cannot be used at all."""

    broken: str = ""
    wanted: dict[str, Any] = field(default_factory=dict)
    takes_system: bool = True
    thinking: Thinking = field(default_factory=lambda: Thinking(lambda messages, variables: None, (), ""))
    tags: ReasoningTags = field(default_factory=lambda: ReasoningTags(None, ""))


def refuse_unused_thinking(submit: Submit) -> None:
    """Raises Refusal if a thinking option would have no effect."""
    if submit.think is not None:
        what = "--raw sends the prompt without a chat template" if submit.raw else "this model has no chat template"
        message = f"think is {submit.think!r}, but {what}, so the option has no effect"
        raise Refusal("invalid_request", message, "Omit `--think`.")


class ChatTemplate:
    """`known`: variables for every rendering (the model's own tokens as text, `template_options`). `model`: name in the model
    file.

    The process `scribe` has started; the template is parsed on first use.
    """

    def __init__(
        self, source: str, known: dict[str, Any] | None = None, scribe: TemplateProcess | None = None, model: str = ""
    ) -> None:
        self._source, self._known, self._model = source, known or {}, model
        self._scribe = scribe or TemplateProcess()
        self._wanted: dict[str, Any] = {}
        self._traits: TemplateTraits | None = None

    @property
    def traits(self) -> TemplateTraits:
        """Found out on first use, and again when a template that timed out has rested."""
        if self._traits is None or (self._traits.broken and self._scribe.has_rested):
            self._traits = self._found_out()
        return self._traits

    def _found_out(self) -> TemplateTraits:
        try:
            names = self._scribe.open(self._source, self._known)
            return self._find_out(names)
        except Unrendered as error:
            return TemplateTraits(str(error))  # reported to requests that use the template; `--raw` works without it

    def _find_out(self, names: list[str]) -> TemplateTraits:
        user = {"role": "user", "content": PROBE}
        for self._wanted in (*WANTED, {}):
            if (alone := self._tried([user], {})) is not None:
                break
        both = self._tried([{"role": "system", "content": SYSTEM}, user], {})
        thinking = Thinking(self._tried, names, self._source, self._model)
        found = ReasoningTags(derive(self._tried, thinking), self._source)
        thinking.always = found.spoken_of or found.opened(alone or "") is not None
        takes_system = alone is None or (both is not None and SYSTEM in both)
        return TemplateTraits("", self._wanted, takes_system, thinking, found)

    def render(self, messages: list[ChatMessage], think: str | None = None) -> str:
        """The text up to the start of the assistant's answer. Raises Refusal with the template's message."""
        if self.traits.broken:
            raise Refusal("invalid_request", f"the model's chat template is broken: {self.traits.broken}", RAW_HINT)
        parsed = self._parses_arguments if uses_tools(messages) else True
        if parsed is None:
            raise refused_tools("the model's chat template does not write them")
        said = [plain(message, parsed) for message in self.fitted(messages, think)]
        try:
            return self._scribe.render(said, self._given(self._way(think).variables))
        except Unrendered as error:
            hint = RAW_HINT if len(messages) < 3 else f"{ORDER_HINT} {RAW_HINT}"
            raise Refusal("invalid_request", f"the model's chat template refuses: {error}", hint) from error

    def fitted(self, messages: list[ChatMessage], think: str | None = None) -> list[ChatMessage]:
        """The messages for the template: without support for system messages, the system prompt starts the first user message."""
        line = self._way(think).line
        begins = bool(messages) and messages[0].role == "system"
        if self.traits.takes_system:
            first = f"{line}\n{messages[0].content}" if begins else line
            return [ChatMessage("system", first), *messages[begins:]] if line else messages
        said = [line] * bool(line) + [message.content for message in messages if message.role == "system"]
        others = [message for message in messages if message.role != "system"]
        if not said:
            return messages
        if not others or others[0].role != "user":
            return [ChatMessage("user", "\n".join(said)), *others]
        return [replace(others[0], content="\n\n".join([*said, others[0].content])), *others[1:]]

    @cached_property
    def _parses_arguments(self) -> bool | None:
        """Whether it wants the arguments of a call parsed, or as JSON text. None: it writes no calls.

        Found out when a chat first has some.
        """
        for parsed in (True, False):
            text = self._tried([plain(message, parsed) for message in TOOLS], {}) or ""
            if all(word in text for word in SHOWN):
                return parsed
        return None

    def prompt(self, tokens: list[int], rendered: Rendered, messages: list[ChatMessage]) -> Prompt:
        """The rendered prompt, with what is known about the answer."""
        tags = self.traits.tags
        remarks = [*self.remarks(messages), *filter(None, [rendered.remark])]
        return Prompt(tokens, rendered.veiled, tags.opened(rendered.veiled), tags.all, remarks)

    def remarks(self, messages: list[ChatMessage]) -> list[str]:
        """Remarks for the user, each shown once."""
        merged = not self.traits.takes_system and any(message.role == "system" for message in messages)
        return [MERGED] if merged else []

    def close(self) -> None:
        """End its process."""
        self._scribe.close()

    def _way(self, think: str | None) -> ThinkingInput:
        return ThinkingInput({}) if think is None else self.traits.thinking.input_for(think)

    def _given(self, variables: dict[str, Any]) -> dict[str, Any]:
        today = {"datetime": date.today().isoformat()} if "datetime" in self._wanted else {}
        return self._wanted | today | variables

    def _tried(self, messages: list[dict[str, Any]], variables: dict[str, Any]) -> str | None:
        """The text, or None if the template refuses. After a timeout it is marked broken until it has rested."""
        try:
            return self._scribe.render(messages, self._given(variables))
        except Unrendered:
            if self._scribe.strikes:
                raise
            return None
