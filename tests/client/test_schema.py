"""What `--schema` accepts, and how it is sent."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmctl.errors import NotFound, Usage
from llmctl.request import schema_text
from llmctl.schema import from_short_form


def fields(text: str) -> dict[str, Any]:
    schema = json.loads(from_short_form(text))
    assert schema["required"] == list(schema["properties"]), "every field is required"
    assert schema["additionalProperties"] is False
    found: dict[str, Any] = schema["properties"]
    return found


def test_the_short_form_is_parsed() -> None:
    assert fields("name, age int,score float , ok bool, tags list, a-b_c str, note: what it means") == {
        "name": {"type": "string"},
        "age": {"type": "integer"},
        "score": {"type": "number"},
        "ok": {"type": "boolean"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "a-b_c": {"type": "string"},
        "note": {"type": "string", "description": "what it means"},
    }


def test_with_one_field_per_line_descriptions_may_contain_commas() -> None:
    found = fields("\n  age int: in years, rounded\n  who: a name: first, last\n")
    assert found["age"] == {"type": "integer", "description": "in years, rounded"}
    assert found["who"]["description"] == "a name: first, last"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a b c", "'a b c'"),
        ("a,,b", "''"),
        ("", "''"),
        ("a int, a", "two fields named a"),
        ("a in", "'in'"),
        ("a.b", "a.b"),
        ("a [int]", "a"),
    ],
)
def test_an_invalid_short_form_names_the_field(text: str, words: str) -> None:
    with pytest.raises(Usage) as error:
        from_short_form(text)
    assert words in error.value.message
    assert error.value.hint


def test_equivalent_schemas_become_the_same_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "é.json").write_text('{ "type" :\n\t"integer" }')
    (tmp_path / "plain").write_text('{"type":"integer"}')
    ways: list[Any] = ['{"type": "integer"}', ' {"type":"integer"}', "é.json", "./plain", "plain", {"type": "integer"}]
    assert {schema_text(way) for way in ways} == {'{"type":"integer"}'}
    assert schema_text("plane") == from_short_form("plane")


@pytest.mark.parametrize(
    "given", ["{", "{'a': 1}", '{"a": NaN}', '{"a": 1} x', {"a": float("inf")}, {"a": {1, 2}}, "{" * 100_000]
)
def test_invalid_json_is_refused(given: Any) -> None:
    with pytest.raises(Usage, match="is not JSON"):
        schema_text(given)


def test_a_file_without_a_schema_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(Usage, match="not a JSON object"):
        schema_text(str(tmp_path / "list.json"))
    with pytest.raises(NotFound, match=r"lost\.json"):
        schema_text(str(tmp_path / "lost.json"))
