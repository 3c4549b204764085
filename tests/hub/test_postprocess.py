"""The code block that was asked for, out of a complete answer."""

import pytest
from llmctld.pipeline.call import compose
from llmctld.pipeline.postprocess import code_block, postprocess

from llmctl.errors import Incomplete
from llmctl.wire import Answer, Delta
from tests.hub.scene import Speaker, a_call, events_of, in_loop


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("```\na\n```", "a", "a"),
        ("Here:\n```python\na\nb\n```\nand\n```\nc\n```\n", "a\nb", "c"),
        ("~~~ sh\na ``` b\n~~~", "a ``` b", "a ``` b"),
        ("````\n```\ninner\n```\n````", "```\ninner\n```", "```\ninner\n```"),
        ("```\nnot closed", "not closed", "not closed"),
        ("```\n\n```", "", ""),
        ("```\n```", "", ""),
        ("  ```\n  a\n  ```", "  a", "  a"),
        ("```\na\n```` \nb", "a", "a"),
        ("```\na\n\n```", "a\n", "a\n"),
        ("```\r\na\r\n```", "a\r", "a\r"),
    ],
)
def test_blocks_as_commonmark_has_them(text: str, first: str, last: str) -> None:
    assert code_block(text, "first") == first
    assert code_block(text, "last") == last


@pytest.mark.parametrize("text", ["", "no code", "`inline`", "a ``` b", "    ```\n    indented\n    ```", "``\na\n``"])
def test_an_answer_without_a_block_is_incomplete(text: str) -> None:
    with pytest.raises(Incomplete, match=f"{len(text)} characters"):
        code_block(text, "first")


@in_loop
async def test_with_extract_the_block_is_all_that_comes() -> None:
    stage = compose([postprocess], Speaker("Sure:\n`", "``\nco", "de\n```\n"))
    (delta, answer) = await events_of(stage, a_call(prompt="x", extract="first"))
    assert delta == Delta(text="code")
    assert isinstance(answer, Answer)
    assert answer.text == "code"


@in_loop
async def test_without_extract_everything_comes_as_it_is() -> None:
    events = await events_of(compose([postprocess], Speaker("```\n", "a\n```")), a_call(prompt="x"))
    assert events[:-1] == [Delta(text="```\n"), Delta(text="a\n```")]
    assert isinstance(events[-1], Answer)
    assert events[-1].text == "```\na\n```"


@in_loop
async def test_an_answer_without_a_block_shows_nothing() -> None:
    with pytest.raises(Incomplete):
        await events_of(compose([postprocess], Speaker("no", " code")), a_call(prompt="x", extract="last"))
