"""From a request to the prompt of a model, for either library: token ids, a raw text, a typed text, or a rendered template.

It knows which of them a request brings; the vocabulary and the reader of markers are the library's.
"""

from collections.abc import Callable
from functools import partial
from typing import Protocol

from llmctld.engine.errors import Refusal
from llmctld.engine.messages import Submit
from llmctld.engine.prompt.chat import whole
from llmctld.engine.prompt.markers import Markers, Rendered
from llmctld.engine.prompt.prompt import Prompt
from llmctld.engine.prompt.tags import ReasoningTags
from llmctld.engine.prompt.template import ChatTemplate, refuse_unused_thinking


class PromptVocabulary(Protocol):
    """The part of a library's vocabulary that prompts need."""

    def checked(self, tokens: list[int]) -> list[int]:
        """Return `tokens`. Raises Refusal for an id that is out of range."""

    def encode(self, text: str) -> list[int]:
        """Tokens of a text that may contain control tokens, with the begin token."""

    def render(self, names: frozenset[str]) -> None:
        """Render these control tokens as text from now on."""


Tokens = Callable[[Rendered], list[int]]


def encode(
    submit: Submit, template: ChatTemplate | None, vocabulary: PromptVocabulary, markers: Markers, typed: Tokens, rendered: Tokens
) -> Prompt:  # fmt: skip
    """`typed` tokenises a text without a template, `rendered` one that the template made. Raises Refusal.

    Only in a raw prompt are the names of control tokens more than text (beside those that the template writes).
    """
    prompt = _prompt(submit, template, vocabulary, markers, typed, rendered)
    if not prompt.tokens:
        raise Refusal("invalid_request", "the prompt is empty")
    return prompt


def _prompt(
    submit: Submit, template: ChatTemplate | None, vocabulary: PromptVocabulary, markers: Markers, typed: Tokens, rendered: Tokens
) -> Prompt:  # fmt: skip
    if submit.raw or submit.tokens is not None or template is None:
        refuse_unused_thinking(submit)
    if submit.tokens is not None:
        return Prompt(vocabulary.checked(submit.tokens))
    if submit.raw or template is None:
        text = whole(submit.messages)
        if submit.raw:
            return Prompt(vocabulary.encode(text), opened=ReasoningTags(None, "").opened(text))
        return Prompt(typed(markers.typed(text)))
    read = markers.render(partial(template.render, think=submit.think), submit.messages)
    vocabulary.render(template.traits.tags.rendered)
    return template.prompt(rendered(read), read, submit.messages)
