"""What is cut from a too long prompt: as little as possible, at word boundaries, from the last question only."""

import itertools

import pytest
from llmctld.engine.errors import Refusal
from llmctld.engine.messages import ChatMessage, Overflow, Submit
from llmctld.engine.prompt.gaps import GAPS, begin_of_word, end_of_word
from llmctld.engine.prompt.overflow import fitted
from llmctld.engine.prompt.prompt import Prompt

WORDS = " ".join(f"word{number:04}" for number in range(1000))
LINES = "\n".join(f"    {number}: a line of words, some of them long" for number in range(500))


def encode(submit: Submit) -> Prompt:
    """One token per character, and ten more per message."""
    return Prompt([0] * sum(len(message.content) + 10 for message in submit.messages))


def words(submit: Submit) -> Prompt:
    return Prompt([0] * sum(len(message.content.split()) + 3 for message in submit.messages))


def asked(text: str, part: str, within: list[tuple[int, int]] | None = None, max_tokens: int = 100) -> Submit:
    messages = [ChatMessage("system", "be brief"), ChatMessage("user", "a"), ChatMessage("assistant", "b")]
    overflow = Overflow(part, within or [(0, len(text))])
    return Submit(id=1, messages=[*messages, ChatMessage("user", text)], max_tokens=max_tokens, overflow=overflow)


@pytest.mark.parametrize("part", GAPS)
@pytest.mark.parametrize("text", [WORDS, LINES])
def test_shortened_prompt_keeps_as_much_text_as_fits(part: str, text: str) -> None:
    submit, prompt, shortened = fitted(encode, asked(text, part), 1000)
    left = submit.messages[-1].content
    assert [message.content for message in submit.messages[:-1]] == ["be brief", "a", "b"]
    assert shortened is not None
    assert (len(prompt.tokens), shortened.of) == (len(encode(submit).tokens), len(text) + 50)
    assert shortened.tokens == len(text) + 50 - len(prompt.tokens)
    assert left == text[: shortened.start] + shortened.glue + text[shortened.end :]
    assert 900 - 20 <= len(prompt.tokens) <= 900
    assert set(left.split()) <= set(text.split())
    assert left.startswith(text[:20]) is (part != "head")
    assert left.endswith(text[-40:]) is (part != "tail")


@pytest.mark.parametrize("part", GAPS)
@pytest.mark.parametrize("limit", range(20, 200, 7))
def test_shortened_prompt_fills_the_limit_to_the_last_word(part: str, limit: int) -> None:
    text = " ".join(f"w{number}" for number in range(400))
    _, prompt, _ = fitted(words, asked(text, part), limit + 100 if limit > 100 else 2 * limit)
    assert len(prompt.tokens) == limit


@pytest.mark.parametrize("part", GAPS)
def test_prompt_that_fits_is_unchanged(part: str) -> None:
    for submit in (asked("a few words", part), asked(WORDS, part)):
        found = fitted(encode, submit, 100_000)
        assert found.submit is submit
        assert found.shortened is None


def test_answer_reserves_at_most_half_of_the_context() -> None:
    assert len(fitted(words, asked(WORDS, "tail", max_tokens=10**6), 400).prompt.tokens) == 200
    assert len(fitted(words, asked(WORDS, "tail", max_tokens=30), 400).prompt.tokens) == 370


def test_prompt_is_not_shortened_unless_requested() -> None:
    submit = asked(WORDS, "tail")
    submit.overflow = None
    assert fitted(encode, submit, 100).submit is submit
    tokens = Submit(id=1, tokens=[1] * 500, max_tokens=5, overflow=Overflow("tail", []))
    assert fitted(lambda one: Prompt(one.tokens or []), tokens, 100).submit is tokens


def test_attached_text_is_cut_before_the_question() -> None:
    text = f"Which is the last?\n\n{WORDS}"
    submit, _, _ = fitted(words, asked(text, "head", [(20, len(text)), (0, len(text))]), 300)
    assert submit.messages[-1].content.startswith("Which is the last?\n\nword")
    assert submit.messages[-1].content.endswith("word0999")
    long = f"{WORDS}\n\nand"
    submit, _, _ = fitted(words, asked(long, "tail", [(len(WORDS) + 2, len(long)), (0, len(long))]), 300)
    assert submit.messages[-1].content.startswith("word0000")
    assert "and" not in submit.messages[-1].content


def test_prompt_that_cannot_be_cut_enough_is_refused_with_the_numbers() -> None:
    with pytest.raises(Refusal, match="50 has room for 25") as caught:
        fitted(encode, asked("some words", "middle"), 50)
    assert caught.value.code == "context_overflow"
    assert "60 tokens" in caught.value.message
    with pytest.raises(Refusal, match="room for"):
        fitted(encode, asked("onelongword", "middle"), 60)


@pytest.mark.parametrize("part", GAPS)
def test_unusual_texts_can_be_shortened(part: str) -> None:
    signs = ["é", "👩\u200d🔬", "👍🏽"]
    pieces = ["字", "a", " ", "\n", "\n\n", "\t", *signs, "x" * 150]
    texts = ["字" * 2000, "x" * 2000, "\n" * 500 + "a b " * 300, " a" + "\n  " * 900, "".join(signs) * 200]
    texts += ["".join(piece * (7 * at % 5 + 1) for at, piece in enumerate(order)) for order in itertools.islice(
        itertools.permutations(pieces, 6), 0, 60000, 997)]  # fmt: skip
    for text in texts:
        for context in (120, 150, 400):
            try:
                submit, prompt, shortened = fitted(encode, asked(text, part), context)
            except Refusal:
                continue
            assert len(prompt.tokens) <= max(context - 100, context // 2)
            left = submit.messages[-1].content
            assert left.strip()
            if shortened is not None:
                assert left == text[: shortened.start] + shortened.glue + text[shortened.end :]
                behind = text[shortened.end :][:1]
                assert behind not in ("\u0301", "\u200d", "\U0001f3fd")


def test_word_and_line_boundaries_are_found() -> None:
    text = "one two\n  three\n\nfour"
    assert [text[: end_of_word(text, at)] for at in (0, 2, 3, 6, 7, 12, 15, 16, 17, 21)] == [
        "", "", "one", "one", "one two", "one two", "one two\n  three", "one two\n  three", "one two\n  three", text,
    ]  # fmt: skip
    assert [text[begin_of_word(text, at) :] for at in (0, 1, 4, 5, 8, 9, 11, 15, 17, 18, 21)] == [
        text, "two\n  three\n\nfour", "two\n  three\n\nfour", "  three\n\nfour", "  three\n\nfour", "three\n\nfour",
        "four", "four", "four", "", "",
    ]  # fmt: skip


def test_one_mebibyte_is_shortened_with_few_tokenizer_calls() -> None:
    looks = 0

    def counting(submit: Submit) -> Prompt:
        nonlocal looks
        looks += 1
        return words(submit)

    for part in GAPS:
        looks = 0
        fitted(counting, asked(WORDS * 100, part), 2000)
        assert looks < 40
