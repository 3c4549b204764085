"""YAML that people write: what it becomes, and that nothing in it grows, refers to itself or ends in another error."""

from itertools import pairwise
from typing import Any

import pytest

from llmctl.plain_yaml import read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 2026-01-01", {"a": "2026-01-01"}),
        ("a: 2026-13-45", {"a": "2026-13-45"}),
        ("no: yes\n12: 3", {"no": True, "12": 3}),
        ("a: =\nb: <<", {"a": "=", "b": "<<"}),
        ("x: &x {a: 1, b: 1}\ny: {<<: *x, a: 2}", {"x": {"a": 1, "b": 1}, "y": {"a": 2, "b": 1}}),
        (r'"\ud83d\ude00"', "😀"),
        ("", None),
    ],
)
def test_values(text: str, value: Any) -> None:
    assert read_yaml(text) == value


def bomb(first: str, form: str) -> str:
    """Each line refers nine times to the one before."""
    names = "abcdefghij"
    lines = [f"{name}: &{name} " + form.replace("X", ", ".join([f"*{before}"] * 9)) for before, name in pairwise(names)]
    return "\n".join([f"a: &a {first}", *lines])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (bomb("[x, x, x]", "[X]"), "line 7, column 12: its aliases stand for more than 1000000 letters"),
        (bomb("{k: 1, l: 2}", "{<<: [X]}"), "its aliases stand for more than 1000000 letters"),
        ("a: &a [*a]", "line 1, column 8: *a stands inside what it refers to"),
        ("a: &a {b: *a}", "*a stands inside what it refers to"),
        ("a: 1\nb: 2\na: 3", "line 3, column 1: the key 'a' stands twice"),
        ("[" * 100_000, "line 1, column 101: it is nested more than 100 deep"),
        ("- " * 100_000, "it is nested more than 100 deep"),
        ("- a\n" * 20_001, "it has more than 20000 values"),
        ("? [a]\n: b", "line 1, column 3: a key has to be a text"),
        ("a: !!int x", "line 1, column 4: this is no int"),
        ('a: !!int ""', "this is no int"),
        ("a: !!bool maybe", "this is no bool"),
        ("a: !!float x", "this is no float"),
        ("a: " + "9" * 5_000, "this is no int"),
        ("a: !!timestamp x", "the tag !!timestamp is not supported"),
        ("a: !!binary x", "the tag !!binary is not supported"),
        ("a: !!python/object/apply:os.system [id]", "the tag !!python/object/apply:os.system is not supported"),
        ("a: !mine x", "the tag !mine is not supported"),
        (r'a: "\ud800"', "line 1, column 4: this text contains half of a character"),
        ("a: \0", "unacceptable character #x0000"),
        ("a: *b", "line 1, column 4: found undefined alias 'b'"),
        ("a: 1\n---\nb: 2", "line 2, column 1: expected a single document"),
    ],
)
def test_refusals(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        read_yaml(text)
    assert words in str(refused.value)
