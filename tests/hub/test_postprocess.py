"""Extraction of the requested code block from a complete answer."""

import pytest
from llmctld.call.call import compose
from llmctld.pipeline.compute.postprocess import code_block, postprocess

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
        ("  ```\n  a\n   b\n c\n  ```", "a\n b\nc", "a\n b\nc"),
        ("```\na\n```` \nb", "a", "a"),
        ("```\na\n\n```", "a\n", "a\n"),
        ("Sure:\r\n```python\r\nif a:\r\n    b\r\n```\r\nThat is it.\r\n", "if a:\n    b", "if a:\n    b"),
        ("```\ra\r```\rprose", "a", "a"),
        ("1. First\n\n   ```sh\n   ls\n     -l\n   ```\n2. Then\n   ~~~\n   b\n   ~~~\n", "ls\n  -l", "b"),
        ("- a\n  - b\n\n    ```py\n    if a:\n        b\n    ```\n\nprose", "if a:\n    b", "if a:\n    b"),
        ("> ```\n> a\n> > b\n> ```\n> prose", "a\n> b", "a\n> b"),
        ("> ```\n> not closed\nprose", "not closed", "not closed"),
        ("- ```\n  not closed\n\nprose", "not closed\n", "not closed\n"),
        ("```\n~~~\n```\n", "~~~", "~~~"),
        ("~~~~ md\n~~~\n```\n~~~~", "~~~\n```", "~~~\n```"),
        ("``` a`b\nno info string holds a backtick\n```\nc", "c", "c"),
        ("~~~ a`b~~~\nc\n~~~", "c", "c"),
        ("```js {1,3} title=x\na\n```", "a", "a"),
        ("text\n```\na\n```\ntext", "a", "a"),
        ("```\na\n ``\n    ```\n   ```", "a\n ``\n    ```", "a\n ``\n    ```"),
        ("<details>\n<summary>s</summary>\n```py\na\n```\n</details>", "a", "a"),
        ("[a]: b\n```\nc\n```", "c", "c"),
        ("```\n\ta\n  \n```", "\ta\n  ", "\ta\n  "),
    ],
)
def test_code_blocks_are_found_as_commonmark_defines_them(text: str, first: str, last: str) -> None:
    assert code_block(text, "first") == first
    assert code_block(text, "last") == last


@pytest.mark.parametrize("text", ["", "no code", "`inline`", "a ``` b", "    ```\n    indented\n    ```", "``\na\n``"])
def test_an_answer_without_a_block_is_incomplete(text: str) -> None:
    with pytest.raises(Incomplete, match=f"{len(text)} characters"):
        code_block(text, "first")


@in_loop
async def test_with_extract_only_the_block_is_sent() -> None:
    stage = compose([postprocess], Speaker("Sure:\n`", "``\nco", "de\n```\n"))
    (delta, answer) = await events_of(stage, a_call(prompt="x", extract="first"))
    assert delta == Delta(text="code")
    assert isinstance(answer, Answer)
    assert answer.text == "code"


@in_loop
async def test_without_extract_the_answer_is_unchanged() -> None:
    events = await events_of(compose([postprocess], Speaker("```\n", "a\n```")), a_call(prompt="x"))
    assert events[:-1] == [Delta(text="```\n"), Delta(text="a\n```")]
    assert isinstance(events[-1], Answer)
    assert events[-1].text == "```\na\n```"


@in_loop
async def test_with_extract_an_answer_without_a_block_sends_no_text() -> None:
    with pytest.raises(Incomplete):
        await events_of(compose([postprocess], Speaker("no", " code")), a_call(prompt="x", extract="last"))
