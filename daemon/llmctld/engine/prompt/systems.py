"""Whether a chat template takes a system message behind turns, found out by rendering words of our own.

Of 65 templates of today 42 write it where it stands, 10 move it to the beginning or take it for the only one, 8 drop it
without a word, 5 refuse. It knows no model and no tokens; what is done where one does not take it is the hub's.
"""

from collections.abc import Callable

from llmctld.engine.errors import Refusal
from llmctld.engine.messages import ChatMessage

TURNS = [ChatMessage("user", "WORD1"), ChatMessage("assistant", "WORD2")]
LATER = [ChatMessage("system", "WORD3"), ChatMessage("user", "WORD4")]
FIRST = [ChatMessage("system", "WORD0")]


def takes_later(render: Callable[[list[ChatMessage]], str]) -> bool:
    """Behind a system message and a turn, and behind a turn alone: there, once, and nothing before it changed by it."""
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
