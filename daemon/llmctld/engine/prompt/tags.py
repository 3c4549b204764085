"""Between which tags a model thinks, by its own chat template: what stands around a thought in a turn that it renders.

Where a template does not render thoughts, the tables of reasoning.py know the families; no output is read here.
"""

from itertools import takewhile
from typing import Any

from llmctld.engine.answer.reasoning import APRIEL, TAGS, UNIT, Tags, overlap, units
from llmctld.engine.prompt.thinking import Render, Thinking, Way

USER, THOUGHT, ANSWER = "qx7question", "qx7thought", "qx7answer"
KEEP = {"add_generation_prompt": False, "preserve_thinking": True, "preserved_thinking": True, "drop_thinking": False}


def derive(render: Render, thinking: Thinking) -> Tags | None:
    """None where the template renders no thought, or without anything around it."""
    on = thinking.way("on") if "on" in thinking.words else Way({})
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
            return known  # the prompt has its beginning
    header = between[closing.end() :].strip() if found else ""
    return Tags(
        opening,
        closing[0],
        header,
        header[overlap(lead.rstrip(), header) :].strip(),
        _footer(after, opening, closing[0]),
    )


def _turns() -> list[dict[str, Any]]:
    """An assistant's turn with a thought, as the families write it."""
    names = dict.fromkeys(("reasoning_content", "reasoning", "thinking", "thought"), THOUGHT)
    blocks = [{"type": "thinking", "thinking": THOUGHT}, {"type": "text", "text": ANSWER}]
    inner = {"blocks": [{"type": "thoughts", "text": THOUGHT}, {"type": "response", "text": ANSWER}]}
    return [{"role": "assistant", "content": content, **names} for content in (ANSWER, blocks, inner)]


def _opening(render: Render, thinking: Thinking, head: str, lead: str) -> str:
    """What stands before a thought and not in the prompt; where the prompt has it all, what it ends with."""
    shared = _shared(head, lead)
    if shared != head:
        return _whole(head, len(shared))
    if lead != head and not UNIT.search(lead[len(head) :]):
        return lead[len(head) :].strip()  # words that begin every thought
    off = (
        None
        if "off" not in thinking.words
        else render([{"role": "user", "content": USER}], thinking.way("off").variables)
    )
    if off is not None and USER in off:
        other = _after(off, USER)
        if opening := _whole(lead, len(_shared(lead, other))):
            return opening
    units = list(UNIT.finditer(lead.rstrip()))
    return units[-1][0] if units and units[-1].end() == len(lead.rstrip()) else ""


def _shared(one: str, other: str) -> str:
    """What both begin with."""
    same = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return one[: sum(1 for _ in same)]


def _whole(text: str, start: int) -> str:
    """From `start` on, or from where the markup begins that it lies within."""
    unit = next((unit for unit in UNIT.finditer(text) if unit.start() < start < unit.end()), None)
    return text[unit.start() if unit else start :].strip()


def _footer(after: str, opening: str, closing: str) -> str:
    """What ends an answer, where it is markup that tells thoughts apart too, and so becomes text."""
    first = UNIT.match(after.lstrip())
    if first and first[0] in {closing, *UNIT.findall(opening)}:
        return first[0]
    return next((known.footer for known in TAGS if known[:2] == (opening, closing) and known.footer == closing), "")


def _after(text: str, word: str) -> str:
    return text[text.index(word) + len(word) :]


class Found:
    """The tags of a model: its `own`, as its template has them, before those of the table."""

    def __init__(self, own: Tags | None, source: str) -> None:
        self.own, self._source = own, source
        self._implied = APRIEL if own is None and APRIEL.closing in source else None
        self.all = (own, *TAGS) if own is not None else TAGS

    @property
    def spoken_of(self) -> bool:
        """Whether the template renders thoughts, or names tags of the table."""
        return self.own is not None or any(
            tags.opening in self._source and tags.closing in self._source for tags in TAGS
        )

    def opened(self, prompt: str) -> Tags | None:
        """The tags whose opening the prompt ends with: the output begins inside the thinking."""
        end = prompt.rstrip()
        return next((tags for tags in self.all if end.endswith(tags.opening)), self._implied)

    @property
    def rendered(self) -> frozenset[str]:
        """Control tokens that have to become text."""
        return units(self.all)
