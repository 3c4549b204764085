"""`--overflow`: cuts a prompt that exceeds the context, in the last user message only.

Searches for the smallest gap between words with which the encoded prompt fits.
"""

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from llmctld.engine.errors import Refusal
from llmctld.engine.messages import Overflow, Shortened, Submit
from llmctld.engine.prompt.gaps import GAPS, Gap, room_for_prompt
from llmctld.engine.prompt.prompt import Prompt

Encode = Callable[[Submit], Prompt]


class Fitted(NamedTuple):
    submit: Submit
    prompt: Prompt
    shortened: Shortened | None = None


def fitted(encode: Encode, submit: Submit, context: int) -> Fitted:
    """The request, cut to fit. Raises Refusal if that is impossible."""
    prompt = encode(submit)
    most = room_for_prompt(context, submit.max_tokens)
    if submit.overflow is None or submit.tokens is not None or len(prompt.tokens) <= most:
        return Fitted(submit, prompt)
    least = len(prompt.tokens)
    for start, end in submit.overflow.within:
        search = _Search(encode, submit, submit.overflow, start, end)
        found = search.best(most, len(prompt.tokens))
        if found is not None:
            gap, cut = found
            left_out = len(prompt.tokens) - len(cut.tokens)
            told = Shortened(gap.start, gap.end, gap.glue, left_out, len(prompt.tokens))
            return Fitted(search.with_gap(gap), cut, told)
        least = min(least, search.least)
    message = (
        f"the prompt has {len(prompt.tokens)} tokens, and {least} when nearly all of the last question is left out; "
        f"the context of {context} has room for {most} (max_tokens is {submit.max_tokens})"
    )
    raise Refusal("context_overflow", message, "Shorten the system prompt or earlier turns, or raise the `context`.")


class _Search:
    """Finds the largest part of characters `start` to `end` of the last user message that fits."""

    def __init__(self, encode: Encode, submit: Submit, wanted: Overflow, start: int, end: int) -> None:
        self._encode, self._submit, self._start = encode, submit, start
        self._place = max(at for at, message in enumerate(submit.messages) if message.role == "user")
        self._whole = submit.messages[self._place].content
        self._text, self._gap = self._whole[start:end], GAPS[wanted.part]
        self._known: dict[Gap, Prompt] = {}
        self.least = 0

    def best(self, most: int, all: int) -> tuple[Gap, Prompt] | None:
        """Interpolate between a length that fits and one that does not, by token counts."""
        low, high = self._smallest(), len(self._text)
        if not low or low >= high:
            self.least = all
            return None
        self.least = at_low = len(self._prompt(low).tokens)
        if at_low > most:
            return None
        at_high, turn = all, 0
        while high - low > 1 and self._gap(self._text, low) != self._gap(self._text, high):
            turn += 1
            share = (most - at_low) / max(at_high - at_low, 1) if turn % 3 else 0.5
            middle = min(max(low + int((high - low) * share), low + 1), high - 1)
            count = len(self._prompt(middle).tokens)
            if count <= most:
                low, at_low = middle, count
            else:
                high, at_high = middle, count
        return self._shifted(low), self._prompt(low)

    def with_gap(self, gap: Gap) -> Submit:
        content = self._whole[: gap.start] + gap.glue + self._whole[gap.end :]
        messages = list(self._submit.messages)
        messages[self._place] = msgspec.structs.replace(messages[self._place], content=content)
        return msgspec.structs.replace(self._submit, messages=messages)

    def _smallest(self) -> int:
        """Fewest characters that keep a word on each remaining side; 0 if there is none."""
        first = next((at for at, letter in enumerate(self._text) if not letter.isspace()), None)
        if first is None:
            return 0
        low = 1
        while low < len(self._text) and not self._keeps(self._gap(self._text, low)):
            low = min(2 * low, len(self._text))
        return low

    def _keeps(self, gap: Gap) -> bool:
        return bool((self._text[: gap.start] + self._text[gap.end :]).strip())

    def _prompt(self, count: int) -> Prompt:
        gap = self._shifted(count)
        if gap not in self._known:
            self._known[gap] = self._encode(self.with_gap(gap))
        return self._known[gap]

    def _shifted(self, count: int) -> Gap:
        gap = self._gap(self._text, count)
        return gap._replace(start=gap.start + self._start, end=gap.end + self._start)
