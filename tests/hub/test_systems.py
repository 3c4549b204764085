"""A system message of a later turn becomes the beginning of its question; earlier messages are unchanged."""

from llmctld.engine.messages import ChatMessage
from llmctld.models.remote.openai import quirk_in
from llmctld.models.remote.systems import folded, has_later, is_later


def talk(text: str) -> list[ChatMessage]:
    """`sA u1 a2`: roles by their first letters."""
    roles = {"s": "system", "u": "user", "a": "assistant"}
    return [ChatMessage(roles[word[0]], word[1:]) for word in text.split()]


def test_the_first_system_message_stays_and_later_ones_join_their_question() -> None:
    assert folded(talk("sA u1 a1 sB u2 a2 u3")) == [
        *talk("sA u1 a1"), ChatMessage("user", "B\n\n2"), *talk("a2 u3"),
    ]  # fmt: skip
    assert folded(talk("u1 a1 sB u2")) == [*talk("u1 a1"), ChatMessage("user", "B\n\n2")]
    assert folded(talk("sA u1")) == talk("sA u1")


def test_a_system_message_without_a_question_becomes_a_user_message() -> None:
    tool = ChatMessage("tool", "5", tool_call_id="c")
    called = talk("u1 a1 sB")
    assert folded([*called, tool]) == [*talk("u1 a1"), ChatMessage("user", "B"), tool]
    named = ChatMessage("user", "2", "ana")
    assert folded([*called, named]) == [*talk("u1 a1"), ChatMessage("user", "B\n\n2", "ana")]


def test_messages_from_a_program_bring_all_turns_at_once() -> None:
    assert has_later(talk("sA u1 a1 sB u2 a2 u3"))
    assert not has_later(talk("sA u1 a1 u2"))


def test_only_the_last_turn_counts_as_later() -> None:
    assert is_later(talk("sA u1 a1 sB u2"))
    assert not is_later(talk("sA u1 a1 sB u2 a2 u3"))
    assert not is_later(talk("sA u1"))


def test_a_refused_later_system_message_is_moved() -> None:
    words = "remote answers 500: Jinja Exception: System message must be at the beginning."
    body = {"messages": talk("sA u1 a1 sB u2")}
    quirk = quirk_in(words, body)
    assert quirk is not None
    assert body["messages"] == folded(talk("sA u1 a1 sB u2"))
    assert quirk_in(words, {"messages": talk("sA u1")}) is None, "there was none to move"
