"""Shortens a prompt that is too long for an endpoint, using the token counts in its refusals: nothing here can count
them.

Each refusal names the tokens of the prompt sent, so each cut is closer than the last.
"""

import math

import msgspec

from llmctl.errors import ContextOverflow
from llmctld.engine.messages import Shortened, Submit
from llmctld.engine.prompt.gaps import GAPS, Gap, room_for_prompt
from llmctld.models.remote.http import refusal

CUTS = 8
"""Maximum number of cuts per request."""
SPARE = 1.05
"""Factor on the surplus, since the cut text may have more characters per token than the rest."""
UNSAID = "--overflow needs the context length and the prompt length, but the endpoint reports {}"


class Shorter:
    """`submit`: the request to send next. `context`: context length in tokens, 0 if unknown."""

    def __init__(self, submit: Submit, context: int) -> None:
        self.submit, self._whole, self._context = submit, submit, context
        self._within = list(submit.overflow.within) if submit.overflow else []
        self._place = max((at for at, each in enumerate(submit.messages) if each.role == "user"), default=0)
        self._keep: int | None = None
        self._gap, self._of, self._cuts = Gap(0, 0), 0, 0

    def cut(self, error: ContextOverflow, words: str) -> bool:
        """Shortens `submit`. False: the prompt fits, but there is no room for the answer.

        Raises ContextOverflow if nothing can be cut, or it is unknown how much to cut.
        """
        most, tokens = refusal.lengths(words)
        context = most or self._context
        if not context or tokens is None:
            unsaid = "neither" if not context and tokens is None else "no context" if not context else "no prompt"
            raise ContextOverflow(f"{error.message} ({UNSAID.format(unsaid)})", error.hint)
        room = room_for_prompt(context, self._whole.max_tokens)
        if tokens <= room:
            return False
        self._of = self._of or tokens
        self._cuts += 1
        letters = sum(len(message.content) for message in self.submit.messages)
        gap = self._next(math.ceil((tokens - room) * letters / tokens * SPARE)) if self._cuts <= CUTS else None
        if gap is None:
            raise ContextOverflow(f"{error.message} (nothing more can be cut from the last question)", error.hint)
        self._gap = gap
        content = self._whole.messages[self._place].content
        messages = list(self._whole.messages)
        messages[self._place] = msgspec.structs.replace(
            messages[self._place], content=content[: gap.start] + gap.glue + content[gap.end :]
        )
        self.submit = msgspec.structs.replace(self._whole, messages=messages)
        return True

    def _next(self, surplus: int) -> Gap | None:
        """A larger gap, with so many characters less; None if no word would remain."""
        content = self._whole.messages[self._place].content
        while self._within:
            start, end = self._within[0]
            text = content[start:end]
            self._keep = (len(text) if self._keep is None else self._keep) - surplus
            gap = GAPS[self._whole.overflow.part if self._whole.overflow else "tail"](text, self._keep)
            if self._keep > 0 and (text[: gap.start] + text[gap.end :]).strip():
                return gap._replace(start=gap.start + start, end=gap.end + start)
            surplus, self._keep = surplus + (self._gap.end - self._gap.start), None
            self._within.pop(0)
        return None

    def notice(self, tokens: int) -> Shortened | None:
        """What was cut, when the endpoint has counted the `tokens` of the shortened prompt."""
        if self._gap.start == self._gap.end:
            return None
        return Shortened(*self._gap, max(self._of - tokens, 0), self._of)
