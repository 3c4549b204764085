"""Which parts of a prompt may be cut: first what accompanies the question, wherever it is in the text."""

from typing import Any

import pytest
from llmctld.cache.level import LeftOut
from llmctld.call import overflow
from llmctld.call.prompt import compose_prompt, values_of

from llmctl.wire import File, Generate

LIMIT = 10**6


def found(**fields: Any) -> list[tuple[str, str]]:
    """(text, name) of each part."""
    request = Generate(overflow="tail", **fields)
    prompt = compose_prompt(request, values_of(request), LIMIT)
    assert prompt is not None
    return [(prompt[part.start : part.end], part.name) for part in overflow.parts(request, prompt)]


LOG = File("a.log", "one\r\ntwo\n")


@pytest.mark.parametrize(
    ("fields", "text", "name"),
    [
        ({"prompt": "why?", "stdin": "log\n"}, "log", "stdin"),
        ({"prompt": "why?", "files": [LOG]}, "one\ntwo", "the file a.log"),
        ({"prompt": "why?", "files": [LOG], "stdin": "x"}, "a.log:\none\ntwo\n\nx", "the file a.log and stdin"),
        ({"prompt": "{what} {stdin} {stdin}?", "params": {"what": "why"}, "stdin": "log"}, "log", "stdin"),
        ({"prompt": "{a} or {b}?", "params": {"a": "yes", "b": "not at all"}}, "not at all", "the parameter b"),
        ({"prompt": "Say {text}", "declared": {"text": "hello"}}, "hello", "the parameter text"),
    ],
)
def test_text_that_accompanies_the_question_is_cut_first(fields: dict[str, Any], text: str, name: str) -> None:
    first, whole = found(**fields)
    assert first == (text, name)
    assert whole[1] == "the prompt"


def test_a_single_text_is_one_part() -> None:
    assert found(prompt="why?") == [("why?", "the prompt")]
    assert found(stdin="log\n") == [("log", "stdin")]
    assert found(prompt="why?", stdin=" ") == [("why?\n\n ", "the prompt")]
    assert found(prompt="{text}", params={"text": "all of it"}) == [("all of it", "the parameter text")]


def test_there_are_no_parts_without_an_overflow_option_or_text() -> None:
    assert overflow.parts(Generate(prompt="why?"), "why?") == []
    assert overflow.parts(Generate(prompt="why?", overflow="error"), "why?") == []
    assert overflow.parts(Generate(tokens=[1], overflow="tail"), None) == []
    assert [part.name for part in overflow.parts(Generate(prompt="a", stdin="b", overflow="tail"), "c")] == [
        "the prompt"
    ]


def test_the_notice_states_the_cut_in_bytes_and_tokens() -> None:
    request = Generate(prompt="why?", stdin="äöü eins", overflow="head")
    left_out = LeftOut(6, 10, "", 5, 17)
    prompt = "why?\n\näöü eins"
    assert overflow.shortened(prompt, left_out) == "why?\n\neins"
    told = overflow.cut_notice(left_out, request, prompt)
    assert told.endswith("the beginning of stdin is left out: 7 of 11 bytes, 5 of the prompt's 17 tokens")
