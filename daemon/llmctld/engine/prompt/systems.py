"""Finds out whether a chat template accepts a system message after other turns, by rendering sample messages.

Of 65 current templates, 42 write it in place, 10 move it to the beginning or use it as the only one, 8 drop it silently, 5 refuse
it. The hub decides what to do in those cases.
"""

from collections.abc import Callable

from llmctld.engine.errors import Refusal
from llmctld.engine.messages import ChatMessage

TURNS = [ChatMessage("user", "WORD1"), ChatMessage("assistant", "WORD2")]
LATER = [ChatMessage("system", "WORD3"), ChatMessage("user", "WORD4")]
FIRST = [ChatMessage("system", "WORD0")]


def takes_later(render: Callable[[list[ChatMessage]], str]) -> bool:
    """True if a system message after a system message and a turn, and after a turn alone, appears in place exactly once and
    changes nothing before it."""
    return all(_in_place(render, [*before, *TURNS]) for before in (FIRST, []))


def _in_place(render: Callable[[list[ChatMessage]], str], before: list[ChatMessage]) -> bool:
    try:
        plain, text = render([*before, LATER[1]]), render([*before, *LATER])
    except Refusal:
        return False
    words = [message.content for message in (*before, *LATER)]
    places = [text.find(word) for word in words]
    once = all(text.count(word) == 1 for word in words)
    sent = plain[: plain.find("WORD2") + len("WORD2")]
    return once and places == sorted(places) and text.startswith(sent)
