"""One real model by the installed command: it answers like the plain loop of llama.cpp, also under load.

Alone that is so to the last token. Among others the library multiplies with other kernels, and its weights are quantised: then
two tokens that are about as likely may change places, as they do where the plain loop reads a prompt token by token instead of
at once. How far apart such two can lie is measured that way, on the same prompts; nothing else may differ.
"""

import os
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.house import House, until
from tests.e2e.house import house as a_house
from tests.slow_twin import Said, Twin

MODEL = Path(os.environ["LLMCTL_TEST_MODEL"]).resolve()
COUNT = 24
PROMPTS = [
    "The capital of France is", "Once upon a time there was a", "def fibonacci(n):\n", "1, 2, 3, 5, 8,",
    "The three laws of motion say that", "Water boils at", "Dear Sir or Madam,\n\nI am writing to",
    "import os\nimport sys\n\ndef main():", "Q: Why is the sky blue?\nA:", "El perro y el gato", "Grüße aus Berlin! Heute",
    "東京は日本の", "<html>\n<body>\n", "The recipe needs two eggs, a cup of flour and", "In 1969, the first man",
    "SELECT name, age FROM users WHERE", "To be, or not to be, that is", "The quick brown fox jumps over the lazy dog. " * 10,
    "a", "Roses are red,\nViolets are blue,\n",
]  # fmt: skip
ASK = ("-m", "real", "--raw", "--no-cache", "--temperature", "0", "--max-tokens", str(COUNT), "--json", "--no-stream")
PATIENCE_S = 600.0


@pytest.fixture(scope="module")
def home() -> Iterator[House]:
    """The model with default settings, except for eight slots."""
    with a_house() as made:
        made.ok("models", "add", "real", MODEL, "--set=slots=8")
        made.ok("models", "load", "real", timeout=PATIENCE_S)
        yield made


@pytest.fixture(scope="module")
def twin() -> Iterator[Twin]:
    made = Twin(MODEL, context=1024)
    yield made
    made.close()


@pytest.fixture(scope="module")
def meant(twin: Twin) -> dict[str, list[Said]]:
    return {prompt: twin.greedy(twin.tokens(prompt), COUNT, at_once=True) for prompt in PROMPTS}


@pytest.fixture(scope="module")
def near(twin: Twin, meant: dict[str, list[Said]]) -> float:
    """By how much the plain loop's two ways of reading a prompt disagree about the distance of the two best logits, at most."""
    return max(
        abs(each.gap - gap)
        for prompt, said in meant.items()
        for each, gap in zip(said, twin.gaps(twin.tokens(prompt), said), strict=True)
    )


def differs(twin: Twin, said: list[Said], text: str, near: float) -> str:
    """Empty if the text differs from the plain loop only where two tokens are about as likely, if at all."""
    agreed = list(takewhile(lambda count: text.startswith(twin.text(said[:count])), range(len(said) + 1)))[-1]
    if agreed == len(said):
        return "" if text == twin.text(said) else f"it goes on behind the end: {text!r}"
    row, gap = said[agreed].row, said[agreed].gap
    other = [*said[:agreed], Said(int(np.argsort(row)[-2]), row)]
    if gap < near and text.startswith(twin.text(other)):
        return ""
    return f"token {agreed} of {twin.text(said)!r} is another in {text!r}, and the two best lie {gap:.3f} apart"


def test_twenty_prompts_get_the_answers_of_the_plain_llama_cpp_loop(
    home: House, twin: Twin, meant: dict[str, list[Said]]
) -> None:
    texts = [home.ok("ask", *ASK, "--repro", "--", prompt, timeout=PATIENCE_S).last["text"] for prompt in PROMPTS]
    assert texts == [twin.text(said) for said in meant.values()]


def test_eight_concurrent_requests_give_the_answers_of_sequential_ones(
    home: House, twin: Twin, meant: dict[str, list[Said]], near: float
) -> None:
    prompts = PROMPTS[:8]
    with home.held("real"):
        commands = [home.spawn("ask", *ASK, "--", prompt) for prompt in prompts]
        until(lambda: home.status()["requests_in_flight"] == len(prompts))
    answers = [command.end(PATIENCE_S).last for command in commands]
    assert all(answer["batched"] for answer in answers)
    found = [
        differs(twin, meant[prompt], answer["text"], near) for prompt, answer in zip(prompts, answers, strict=True)
    ]
    assert not any(found), [each for each in found if each]
    equal = sum(answer["text"] == twin.text(meant[prompt]) for prompt, answer in zip(prompts, answers, strict=True))
    sys.stdout.write(f"{equal} of {len(prompts)} texts are equal to the last token; near: {near:.3f}\n")


def test_a_file_of_20000_bytes_is_read_completely_or_refused(home: House, twin: Twin) -> None:
    lines = "".join(
        f"Line {number} of the report says that {number * 37 % 1000} boxes were counted.\n" for number in range(999)
    )
    text = lines[:20_000]
    tokens, context = len(twin.tokens(text)), home.ps("real")["context"]
    outcome = home.run("ask", *ASK, stdin=text, timeout=PATIENCE_S)
    if tokens < context:
        assert outcome.status == 0, outcome
        assert outcome.last["usage"]["prompt_tokens"] == tokens, "all of it, and nothing else"
    else:
        assert (outcome.status, outcome.error["code"]) == (5, "context_overflow")
        assert str(tokens) in outcome.error["message"]
        assert str(context) in outcome.error["message"]


def test_the_answer_satisfies_the_schema(home: House) -> None:
    schema = (
        '{"type":"object","properties":{"name":{"type":"string","maxLength":20},"age":{"type":"integer","minimum":0,'
        '"maximum":150},"tags":{"type":"array","items":{"enum":["red","green"]},"maxItems":2}},'
        '"required":["name","age","tags"],"additionalProperties":false}'
    )
    value = home.ok(
        "ask", "A person, as JSON:", "-m", "real", "--schema", schema, "--temperature", "0", "--max-tokens", "200",
        "--json", "--no-stream", timeout=PATIENCE_S,
    ).last["value"]  # fmt: skip
    assert sorted(value) == ["age", "name", "tags"]
    assert isinstance(value["name"], str)
    assert len(value["name"]) <= 20
    assert 0 <= value["age"] <= 150
    assert set(value["tags"]) <= {"red", "green"}


def test_embed_with_a_text_model_is_refused(home: House) -> None:
    outcome = home.run("embed", "-m", "real", "hello")
    assert (outcome.status, outcome.out) == (5, "")
    assert "real" in outcome.err
    assert "embedding" in outcome.err
    assert "Traceback" not in outcome.err
