"""Input as users have it: byte order marks, addresses from a browser, git-lfs clones, numbers from programs."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import tiny_llama
from tests.client.test_pointers import POINTER
from tests.e2e.house import House
from tests.e2e.house import house as a_house
from tests.faulty_server import answer, server

LONG = 1285704473650888702
FLOAT32 = 3.4028234663852886e38
MARK = b"\xef\xbb\xbf"


@pytest.fixture(scope="module")
def home() -> Iterator[House]:
    with a_house() as made:
        yield made.echo()


def test_a_code_block_with_crlf_or_within_a_list_is_extracted(home: House) -> None:
    crlf = "Sure:\r\n```python\r\nif a:\r\n    b()\r\n```\r\nThat is it.\r\n"
    listed = "1. First:\n\n   ```sh\n   ls\n     -l\n   ```\n\n2. Then:\n   ~~~~\n   ```\n   ~~~~\n"
    with server() as endpoint:
        endpoint.script = [answer(crlf), answer(listed), answer(listed), answer("> ```\n> not closed\nprose")]
        home.ok("models", "add", "codes", endpoint.url)
        assert home.ok("ask", "1", "-m", "codes", "-x").out == "if a:\n    b()\n"
        assert home.ok("ask", "2", "-m", "codes", "-x").out == "ls\n  -l\n"
        assert home.ok("ask", "3", "-m", "codes", "--xl").out == "```\n"
        assert home.ok("ask", "4", "-m", "codes", "-x", "--json").last["text"] == "not closed"


@pytest.mark.parametrize("number", [LONG, -LONG, 2**64, 10**40])
def test_large_integers_keep_all_digits(home: House, number: int) -> None:
    schema = json.dumps(
        {
            "type": "object",
            "properties": {"id": {"const": number}, "of": {"enum": [[number]]}},
            "required": ["id", "of"],
        }
    )
    text = f'{{"id":{number},"of":[{number}]}}'
    for hit in (None, "memory"):
        outcome = home.ok("ask", "x", "-m", "echo", "--schema", schema, "--json")
        assert (outcome.last["text"], outcome.last["cache"]["hit"]) == (text, hit)
        assert f'"value":{text}' in outcome.out
    script = f"from llmctl import Client\nwith Client() as c: print(c.ask('x', model='echo', schema={schema!r}).value)"
    assert home.python(script).end().out == f"{{'id': {number}, 'of': [{number}]}}\n"
    given = f"from llmctl import Client\nwith Client() as c: print(c.ask('y', model='echo', schema={{'const': {number}}}).value)"
    assert home.python(given).end().out == f"{number}\n"
    assert home.records("text")[-1]["text"] == str(number)


def test_schema_bounds_at_float_and_integer_limits_are_accepted(home: House) -> None:
    for schema in (
        {"type": "number", "minimum": -FLOAT32, "maximum": FLOAT32},
        {"properties": {"x": {"type": "number", "exclusiveMinimum": 0, "maximum": 1.7976931348623157e308}}, "required": ["x"]},
        {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
        {"type": "number", "minimum": 2.2250738585072014e-308},
    ):  # fmt: skip
        assert home.run("ask", "x", "-m", "echo", "--schema", json.dumps(schema)).status == 0, schema
    far = home.run("ask", "x", "-m", "echo", "--schema", '{"type":"number","minimum":1e30}')
    assert (far.status, "remove it" in far.err) == (2, True), far


def test_a_byte_order_mark_at_the_start_of_any_file_is_skipped(house: House) -> None:
    place = house.home
    house.place.mkdir()
    (house.place / "config.toml").write_bytes(MARK + b'[defaults]\nuser = "marked"\n')
    house.echo()
    files = {
        "s.json": b'{"const": 7}', "g.gbnf": b'root ::= "yes"', "t.yaml": b"prompt: of {topic}\nparams: {topic: tea}\n",
        "f.txt": b"text\n", "w.jsonl": b'{"prompt": "warm"}\n', "r.jsonl": b'{"key": "a", "seconds": 2}\n',
    }  # fmt: skip
    for name, data in files.items():
        (place / name).write_bytes(MARK + data)
    assert house.ok("ask", "x", "--schema", "s.json").out == "7\n"
    assert house.ok("ask", "x", "--grammar", "g.gbnf").out == "yes\n"
    assert house.ok("ask", "-t", "./t.yaml").out == "of tea\n"
    assert house.ok("templates", "show", "./t.yaml").out.startswith("prompt")
    assert house.ok("ask", "x", "-f", "f.txt").out == "x\n\nf.txt:\ntext\n"
    assert house.ok("ask", "x", stdin=MARK + b"in\n").out == "x\n\nin\n"
    assert house.ok("chat", "-q", stdin=MARK + b"hello\n").out == "hello\n"
    house.ok("cache", "warm", "w.jsonl")
    house.ok("cache", "replay", "r.jsonl")
    assert [row["user"] for row in house.records("user", where="prompt = 'x'")] == ["marked"] * 2, "config.toml is read"
    (place / "u.txt").write_bytes("text".encode("utf-16"))
    wide = house.run("ask", "x", "-f", "u.txt")
    assert (wide.status, "u.txt is UTF-16 text" in wide.err, "iconv -f utf-16 -t utf-8" in wide.err) == (5, True, True)


def test_a_hugging_face_page_as_an_endpoint_is_refused_with_the_pull_command(home: House) -> None:
    outcome = home.run("models", "add", "m", "https://huggingface.co/a/b/blob/main/c.gguf")
    assert outcome.status == 5
    assert "is a page of Hugging Face, not an endpoint" in outcome.err
    assert "`llmctl pull a/b:c.gguf --as m`" in outcome.err
    other = home.run("pull", "https://example.com/a/b")
    assert (other.status, "not a page of Hugging Face" in other.err) == (5, True)


def test_a_git_lfs_pointer_is_named_as_such(home: House, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_text(POINTER)
    folder = tmp_path / "folder"
    tiny_llama.write(folder)
    home.ok("models", "add", "whole", folder)
    for file in ("model.safetensors", "tokenizer.json"):
        was = (folder / file).read_bytes()
        (folder / file).write_text(POINTER)
        for command in (["models", "add", "pointer", folder], ["ask", "x", "-m", "whole"]):
            outcome = home.run(*command)
            assert outcome.status == 4, (file, outcome)
            assert f"{file} is a git-lfs pointer" in outcome.err
            assert "git lfs pull" in outcome.err
        (folder / file).write_bytes(was)
    for command in (["models", "add", "pointer", tmp_path / "m.gguf"], ["models", "estimate", tmp_path / "m.gguf"]):
        outcome = home.run(*command)
        assert (outcome.status, "m.gguf is a git-lfs pointer" in outcome.err) == (4, True), outcome


def test_a_prompt_beginning_with_a_dash_gets_a_hint(home: House) -> None:
    outcome = home.run("ask", "-5 + 3?")
    assert (outcome.status, outcome.out) == (2, "")
    assert '`llmctl ask -- "-5 + 3?"`' in outcome.err
    assert home.ok("ask", "-m", "echo", "--", "-5 + 3?").out == "-5 + 3?\n"
    assert '`llmctl embed -- "-5 x"`' in home.run("embed", "-5 x", "--json").error["hint"].replace('\\"', '"')
