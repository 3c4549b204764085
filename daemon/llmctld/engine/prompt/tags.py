"""Derives a model's reasoning tags from its chat template: the text around `reasoning_content` in a rendered turn.

For templates that render no reasoning, answer/reasoning.py has a table of families.
"""

from itertools import takewhile
from typing import Any

from llmctld.engine.answer.reasoning import APRIEL, TAGS, UNIT, Tags, markup_of, overlap
from llmctld.engine.prompt.thinking import Render, Thinking, ThinkingInput

USER, THOUGHT, ANSWER = "qx7question", "qx7thought", "qx7answer"
KEEP = {"add_generation_prompt": False, "preserve_thinking": True, "preserved_thinking": True, "drop_thinking": False}


def derive(render: Render, thinking: Thinking) -> Tags | None:
    """The tags; None if the template renders no reasoning, or nothing around it."""
    on = thinking.input_for("on") if "on" in thinking.words else ThinkingInput({})
    user = {"role": "user", "content": USER}
    prompt = render([user], on.variables)
    turn = next(
        (text for said in _turns() if (text := render([user, said], on.variables | KEEP)) and THOUGHT in text), None
    )
    if turn is None or prompt is None or USER not in turn or USER not in prompt:
        return None
    head, rest = _after(turn, USER).split(THOUGHT, 1)
    between, found, after = rest.partition(ANSWER)
    lead = _after(prompt, USER)
    closing = UNIT.search(between)
    opening = _opening(render, thinking, head, lead)
    if closing is None or not opening:
        return None
    for known in TAGS:
        if known.opening != opening and known.opening.endswith(opening) and known.closing.startswith(closing[0]):
            return known  # its beginning is in the prompt
    header = between[closing.end() :].strip() if found else ""
    return Tags(
        opening,
        closing[0],
        header,
        header[overlap(lead.rstrip(), header) :].strip(),
        _footer(after, opening, closing[0]),
    )


def _turns() -> list[dict[str, Any]]:
    """An assistant turn with reasoning, in the field names of the families."""
    names = dict.fromkeys(("reasoning_content", "reasoning", "thinking", "thought"), THOUGHT)
    blocks = [{"type": "thinking", "thinking": THOUGHT}, {"type": "text", "text": ANSWER}]
    inner = {"blocks": [{"type": "thoughts", "text": THOUGHT}, {"type": "response", "text": ANSWER}]}
    return [{"role": "assistant", "content": content, **names} for content in (ANSWER, blocks, inner)]


def _opening(render: Render, thinking: Thinking, head: str, lead: str) -> str:
    """The opening tag: the part of it that the prompt lacks, or the end of the prompt if that contains all of it."""
    shared = _shared(head, lead)
    if shared != head:
        return _whole(head, len(shared))
    if lead != head and not UNIT.search(lead[len(head) :]):
        return lead[len(head) :].strip()  # words that start all reasoning
    off = (
        None
        if "off" not in thinking.words
        else render([{"role": "user", "content": USER}], thinking.input_for("off").variables)
    )
    if off is not None and USER in off:
        other = _after(off, USER)
        if opening := _whole(lead, len(_shared(lead, other))):
            return opening
    units = list(UNIT.finditer(lead.rstrip()))
    return units[-1][0] if units and units[-1].end() == len(lead.rstrip()) else ""


def _shared(one: str, other: str) -> str:
    """The common prefix."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return one[: sum(1 for _ in same)]


def _whole(text: str, start: int) -> str:
    """The text from `start` on, extended to the left to include markup that `start` is inside of."""
    unit = next((unit for unit in UNIT.finditer(text) if unit.start() < start < unit.end()), None)
    return text[unit.start() if unit else start :].strip()


def _footer(after: str, opening: str, closing: str) -> str:
    """Markup that ends an answer and also separates reasoning, so that it is rendered as text."""
    first = UNIT.match(after.lstrip())
    if first and first[0] in {closing, *UNIT.findall(opening)}:
        return first[0]
    return next((known.footer for known in TAGS if known[:2] == (opening, closing) and known.footer == closing), "")


def _after(text: str, word: str) -> str:
    return text[text.index(word) + len(word) :]


class ReasoningTags:
    """Tags of a model: its `own` from the template, before those of the table."""

    def __init__(self, own: Tags | None, source: str) -> None:
        self.own, self._source = own, source
        self._implied = APRIEL if own is None and APRIEL.closing in source else None
        self.all = (own, *TAGS) if own is not None else TAGS

    @property
    def spoken_of(self) -> bool:
        """Whether the template renders reasoning or contains tags of the table."""
        return self.own is not None or any(
            tags.opening in self._source and tags.closing in self._source for tags in TAGS
        )

    def opened(self, prompt: str) -> Tags | None:
        """The tags whose opening ends the prompt: the output begins inside the reasoning."""
        end = prompt.rstrip()
        return next((tags for tags in self.all if end.endswith(tags.opening)), self._implied)

    @property
    def rendered(self) -> frozenset[str]:
        """Control tokens that must be rendered as text."""
        return markup_of(self.all)
