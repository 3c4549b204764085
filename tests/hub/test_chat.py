"""Which chats are accepted, and the errors for those that are not."""

import pytest
from llmctld.call.chat import check_chat, normal_chat, question_of, system_of

from llmctl.errors import LlmctlError, Unsupported, Usage
from llmctl.wire import ChatMessage, File, FunctionCall, Generate, ToolCall

USER, CALL = ChatMessage("user", "why?"), ToolCall("c1", FunctionCall("f", "{}"))
CALLS, RESULT = ChatMessage("assistant", "", tool_calls=[CALL]), ChatMessage("tool", "5", tool_call_id="c1")


def error_of(**fields: object) -> LlmctlError:
    with pytest.raises(LlmctlError) as raised:
        check_chat(Generate(**fields))  # type: ignore[arg-type]
    return raised.value


@pytest.mark.parametrize(
    "messages",
    [
        [USER],
        [ChatMessage("system", "s"), USER],
        [USER, ChatMessage("assistant", ""), USER],
        [USER, CALLS, RESULT],
        [USER, USER],
    ],
)
def test_valid_chats_are_accepted(messages: list[ChatMessage]) -> None:
    check_chat(Generate(messages=messages))
    check_chat(Generate(messages=messages, tools=[]))


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "messages is empty"),
        ([ChatMessage("system", "s")], "messages has no user message"),
        ([USER, ChatMessage("assistant", "a")], r"messages\[1\], the last one, has the role assistant"),
        ([USER, ChatMessage("system", "a")], r"messages\[1\], the last one, has the role system"),
        ([ChatMessage("developer", "s"), USER], r"messages\[0\].role is 'developer'; it must be one of system, user"),
        ([ChatMessage("human", "s")], r"messages\[0\].role is 'human'"),
        ([ChatMessage("user", " \n"), ChatMessage("assistant", "a"), USER], r"messages\[0\], a user message, is empty"),
        ([ChatMessage("user", "a", reasoning="hm")], r"messages\[0\] has the role user and a reasoning; only .* assistant"),
        ([ChatMessage("user", "a", tool_calls=[CALL])], r"messages\[0\] has the role user and a tool_calls"),
        ([ChatMessage("user", "a", tool_call_id="c")], r"messages\[0\] has the role user and a tool_call_id; only .* tool"),
        ([USER, RESULT], r"messages\[1\].tool_call_id is 'c1'; no message before it calls a tool"),
        ([USER, CALLS, ChatMessage("tool", "5", tool_call_id="c2")], r"tool_call_id is 'c2'; the calls before it are c1"),
        ([USER, CALLS, ChatMessage("tool", "5")], r"tool_call_id is None"),
    ],
)  # fmt: skip
def test_invalid_chats_are_refused_with_the_reason(messages: list[ChatMessage], words: str) -> None:
    error = error_of(messages=messages)
    assert isinstance(error, Usage)
    assert error.hint
    with pytest.raises(Usage, match=words):
        check_chat(Generate(messages=messages))


def test_unknown_role_is_refused_with_a_hint_to_the_equivalent() -> None:
    assert error_of(messages=[ChatMessage("developer", "s"), USER]).hint == (
        "Use the role system instead of 'developer'."
    )


@pytest.mark.parametrize(
    "fields",
    [{"prompt": "x"}, {"stdin": "x"}, {"files": [File("a", "b")]}, {"params": {"a": "b"}}, {"declared": {"a": None}},
     {"tokens": [1]}, {"system": "s"}, {"raw": True}, {"conversation": "c"}, {"continue_last": True}],
    ids=lambda fields: next(iter(fields)),
)  # fmt: skip
def test_the_short_form_and_a_chat_exclude_each_other(fields: dict[str, object]) -> None:
    error = error_of(messages=[USER], **fields)
    assert isinstance(error, Usage)
    assert error.message == f"messages and {next(iter(fields))} exclude each other"


@pytest.mark.parametrize("fields", [{"tools": [{}]}, {"tool_choice": "auto"}])
@pytest.mark.parametrize("asked", [{"prompt": "why?"}, {"messages": [USER]}])
def test_tool_options_are_refused_as_unsupported(fields: dict[str, object], asked: dict[str, object]) -> None:
    error = error_of(**asked, **fields)
    assert isinstance(error, Unsupported)
    assert (error.code, error.status) == ("unsupported", 5)


def test_question_is_the_last_user_message_and_last_system_prompt_applies() -> None:
    chat = [ChatMessage("system", "a"), USER, CALLS, ChatMessage("system", "b"), RESULT]
    assert (question_of(chat), system_of(chat)) == ("why?", "b")
    assert (question_of(chat[:1]), system_of(chat[1:2])) == (None, "")


def test_normal_form_unifies_line_ends_and_drops_empty_system_prompts() -> None:
    chat = [ChatMessage("system", ""), ChatMessage("user", "\ufeffa\r\nb", "ana"), CALLS]
    assert normal_chat(chat) == [ChatMessage("user", "a\nb", "ana"), CALLS]
