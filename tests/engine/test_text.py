"""Bytes to text: any split gives the same text, and never half a character or part of a stop string."""

from itertools import pairwise

import hypothesis.strategies as st
import pytest
from hypothesis import example, given
from llmctld.engine.answer.reasoning import TAGS, Splitter, Tags
from llmctld.engine.answer.text import Text
from llmctld.engine.prompt.tags import ReasoningTags


def opened_by(prompt: str) -> Tags | None:
    return ReasoningTags(None, "").opened(prompt)


Told = tuple[str, str, bool]
"""(answer, reasoning, whether a stop string ended it)"""


def feed(pieces: list[bytes], stop: list[str] | None = None, prompt: str = "") -> Told:
    text = Text(stop, opened_by(prompt))
    gains = []
    for piece in pieces:
        gains.append(text.feed(piece))
        if gains[-1].stopped:
            break
    gains.append(text.end())
    stopped = any(gain.stopped for gain in gains)
    return "".join(gain.text for gain in gains), "".join(gain.reasoning for gain in gains), stopped


def twin(data: bytes, stop: list[str], prompt: str = "") -> Told:
    """The slow reference: reads the whole text at once."""
    answer, reasoning = whole_split(data.decode("utf-8", "replace"), prompt)
    for end in range(len(answer) + 1):
        found = [word for word in stop if word and answer[:end].endswith(word)]
        if found:
            return answer[: end - max(map(len, found))], reasoning, True
    return answer, reasoning, False


def whole_split(text: str, prompt: str) -> tuple[str, str]:
    start, thoughts = text.lstrip(), list[str]()
    tags = opened_by(prompt)
    if tags is None:
        for known in TAGS:
            if known.direct and start.startswith(known.direct):
                return footer_off(start.removeprefix(known.direct), known), ""
            if start.startswith(known.opening):
                tags, start = known, start.removeprefix(known.opening)
                break
    while tags is not None:
        thought, _, rest = start.partition(tags.closing)
        thoughts.append(thought.strip())
        start = rest.lstrip()
        if tags.header and start.startswith(tags.header):
            return footer_off(start.removeprefix(tags.header), tags), joined(thoughts)
        leads = ["", tags.header.removesuffix(tags.direct)] if tags.direct else [""]
        again = [
            (known, lead + known.opening) for known in TAGS for lead in leads if start.startswith(lead + known.opening)
        ]
        if not again:
            return footer_off(start, tags), joined(thoughts)
        tags, start = again[0][0], start.removeprefix(again[0][1])
    return text, ""


def joined(thoughts: list[str]) -> str:
    return "\n\n".join(thought for thought in thoughts if thought)


def footer_off(text: str, tags: Tags) -> str:
    return text.partition(tags.footer)[0] if tags.footer else text


def cut(data: bytes, at: list[int]) -> list[bytes]:
    borders = sorted({0, len(data), *(place % (len(data) + 1) for place in at)})
    return [data[a:b] for a, b in pairwise(borders)]


ATOMS = ["a", "b", "ab", " ", "\n", "é", "日", "🎉", "<", "</", "think>", "END", "E", "N"]
ATOMS += [part for tags in TAGS for part in tags if part]
outputs = st.lists(st.sampled_from(ATOMS), max_size=12).map(lambda atoms: "".join(atoms).encode())
noisy = st.one_of(
    outputs, st.binary(max_size=24), st.tuples(outputs, st.binary(max_size=3)).map(lambda two: two[0] + two[1])
)
stops = st.lists(st.sampled_from(["ab", "aba", "END", "b\n", "é", "日🎉", "think"]), max_size=3)
prompts = st.sampled_from(["", "<think>", "say it\n<think>\n", "<|start|>assistant<|channel|>analysis<|message|>"])


@given(noisy, st.lists(st.integers(0, 300), max_size=20), stops, prompts)
def test_any_split_gives_the_same_text_as_the_whole(data: bytes, at: list[int], stop: list[str], prompt: str) -> None:
    assert feed(cut(data, at), stop, prompt) == twin(data, stop, prompt)


@given(noisy, stops)
def test_byte_by_byte_gives_the_same_text_as_the_whole(data: bytes, stop: list[str]) -> None:
    assert feed([data[i : i + 1] for i in range(len(data))], stop) == twin(data, stop)


@given(outputs, st.lists(st.integers(0, 300), max_size=20), stops)
def test_no_stop_string_is_ever_printed(data: bytes, at: list[int], stop: list[str]) -> None:
    answer, _, _ = feed(cut(data, at), stop)
    assert not [word for word in stop if word in answer]


def test_partial_stop_string_is_printed_when_it_does_not_complete() -> None:
    text = Text(["STOP"])
    assert [text.feed(piece).text for piece in (b"we S", b"T", b"and")] == ["we ", "", "STand"]
    assert text.feed(b" ST").text == " "
    assert text.end().text == "ST"


def test_character_is_held_back_until_its_last_byte() -> None:
    text = Text()
    assert [text.feed(bytes([byte])).text for byte in "é🎉".encode()] == ["", "é", "", "", "", "🎉"]


@pytest.mark.parametrize(
    ("output", "prompt", "answer", "reasoning"),
    [
        ("<think>plan</think>answer", "", "answer", "plan"),
        ("\n <think>\nplan\n</think>\n\nanswer\n", "", "answer\n", "plan"),
        ("plan</think> answer", "...<think>\n", "answer", "plan"),
        ("<thinking>a<b</thinking>c", "", "c", "a<b"),
        ("[THINK]x[/THINK]y", "", "y", "x"),
        ("no <think>tags</think> later", "", "no <think>tags</think> later", ""),
        ("<think>never closed", "", "", "never closed"),
        ("<think", "", "<think", ""),
        (" \n", "", " \n", ""),
        ("<think></think>4", "", "4", ""),
        ("<|channel|>final<|message|>hi", "", "hi", ""),
        ("<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>hi", "", "hi", "hm"),
        ("<|channel|>analysis<|message|>hm<|end|>hi", "", "hi", "hm"),
        (
            "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>commentary<|message|>so<|end|>"
            "<|start|>assistant<|channel|>final<|message|>hi",
            "", "hi", "hm\n\nso",
        ),
        ("<|channel|>final<|message|>hi<|end|><|start|>assistant", "", "hi", ""),
        ("<seed:think>x</seed:think>y", "", "y", "x"),
        ("<think:opensource>x</think:opensource>y", "", "y", "x"),
        ("<mm:think>x</mm:think>y", "", "y", "x"),
        ("<|START_THINKING|>x<|END_THINKING|><|START_RESPONSE|>y<|END_RESPONSE|>", "", "y", "x"),
        ("<|START_RESPONSE|>y<|END_RESPONSE|>", "", "y", ""),
        ("<|inner_prefix|>x<|inner_suffix|>y", "", "y", "x"),
        ("<|channel>thought\nx<channel|>y", "", "y", "x"),
        ("<|open|>think<|sep|>x<|close|>think<|sep|><|open|>response<|sep|>y<|close|>response<|sep|>", "", "y", "x"),
        ("x<|close|>think<|sep|><|open|>response<|sep|>y", "<|open|>think<|sep|>", "y", "x"),
        ("x\n[BEGIN FINAL RESPONSE]\ny", "", "x\n[BEGIN FINAL RESPONSE]\ny", ""),
    ],
)  # fmt: skip
def test_reasoning_is_separated_from_the_answer(output: str, prompt: str, answer: str, reasoning: str) -> None:
    pieces = [bytes([byte]) for byte in output.encode()]
    assert feed(pieces, prompt=prompt) == (answer, reasoning, False)
    assert feed([output.encode()], prompt=prompt) == (answer, reasoning, False)


def test_a_stop_string_in_the_reasoning_does_not_stop() -> None:
    assert feed([b"<think>END is not yet</think>done END more"], ["END"]) == ("done ", "END is not yet", True)


def test_first_completed_stop_string_ends_the_text() -> None:
    assert feed([b"xabcd"], ["abcd", "bc"]) == ("xa", "", True)


def test_thousand_think_blocks_are_read_as_reasoning() -> None:
    assert feed([b"<think>a</think>" * 1000 + b"b"]) == ("b", "\n\n".join(["a"] * 1000), False)


# ---- closing tags without opening tag -----------------------------------------------------------------------------------


def split(pieces: list[str], guess: bool = False) -> tuple[list[tuple[str, str]], bool]:
    """The output of each piece, and whether the text before was moved to the reasoning."""
    splitter = Splitter(lone=True, guess=guess)
    told = [*map(splitter.feed, pieces), splitter.end()]
    return told, splitter.moved


LONE = ["6 times ", "7</th", "ink>", "\n\n4", "2"]


def test_lone_closing_tag_marks_the_text_before_it_as_reasoning() -> None:
    told, moved = split(LONE)
    assert moved
    assert told == [("6 times", ""), (" 7", ""), ("", ""), ("4", ""), ("2", ""), ("", "")]
    told, moved = split(LONE, guess=True)
    assert (told, moved) == ([("", ""), ("", ""), ("", "6 times 7"), ("4", ""), ("2", ""), ("", "")], True)


def test_held_back_text_is_the_answer_without_a_closing_tag() -> None:
    assert split(["4", "2"], guess=True) == ([("", ""), ("", ""), ("42", "")], False)
    assert split(["4", "2"]) == ([("4", ""), ("2", ""), ("", "")], False)


def test_opened_or_quoted_tag_is_not_a_lone_closing_tag() -> None:
    assert split(["<think>a</think>b</think>c"])[0][0] == ("b</think>c", "a")
    assert split(["it ends with `</think>`"]) == ([("it ends with `</think>`", ""), ("", "")], False)
    assert split(["</think>\n\n42"]) == ([("42", ""), ("", "")], False)


ALONE = ["a", " ", "`", "<", "</think>", "[/THINK]", "<think>"]


@given(st.lists(st.sampled_from(ALONE), max_size=9), st.lists(st.integers(0, 99)))
@example(["a", "</think>", "<think>", "a"], [1])
@example(["a", " ", "</think>", "<think>", "a"], [2])
def test_lone_closing_tag_is_found_in_any_split(atoms: list[str], at: list[int]) -> None:
    whole = "".join(atoms)

    def told(pieces: list[str]) -> tuple[str, str]:
        splitter, answer, thought = Splitter(lone=True), "", ""
        for piece in [*pieces, None]:
            before = splitter.moved
            said, more = splitter.feed(piece) if piece is not None else splitter.end()
            if splitter.moved and not before:
                answer, thought = "", answer + thought
            answer, thought = answer + said, thought + more
        return answer, thought.strip()

    assert told([piece.decode() for piece in cut(whole.encode(), at)]) == told([whole])
