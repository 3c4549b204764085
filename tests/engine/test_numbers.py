"""Numbers in schemas: large bounds and long integers, which the grammar library refuses or changes."""

import json
from typing import Any

import pytest
from llmctld.engine.errors import Refusal
from llmctld.engine.forms.grammar import Grammar, of_bytes, smallest
from llmctld.engine.forms.numbers import supported_schema

FLOAT32, DOUBLE = 3.4028234663852886e38, 1.7976931348623157e308
LONG = 1285704473650888702
WORDS = of_bytes()


def takes(schema: Any, text: str) -> bool:
    grammar = Grammar(WORDS, json.dumps(schema), None)
    return all(grammar.take(byte) for byte in text.encode()) and grammar.is_complete


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        ({"type": "number", "minimum": -FLOAT32, "maximum": FLOAT32}, ["6.02e23", "-1.5", "0"], ["x"]),
        ({"type": "number", "exclusiveMinimum": 0, "maximum": DOUBLE}, ["0.25", "7"], ["0", "-7"]),
        ({"type": "number", "minimum": 0, "exclusiveMaximum": FLOAT32}, ["0", "7.5"], ["-7"]),
        ({"type": "number", "minimum": 2.2250738585072014e-308, "maximum": 10}, ["0.25", "10"], ["0", "-1", "11"]),
        ({"type": "number", "minimum": -10, "maximum": -5e-324}, ["-0.25", "-10"], ["0", "1", "-11"]),
        ({"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}, ["-5", str(2**63 - 1)], ["1.5"]),
        ({"type": "integer", "minimum": 0, "maximum": 2**64 - 1}, ["0", str(2**64 - 1)], ["-1"]),
        ({"type": "integer", "minimum": LONG, "maximum": LONG + 9}, [str(LONG), str(LONG + 9)], ["7", str(LONG + 9999)]),
        ({"type": ["integer", "null"], "maximum": 1e300}, ["null", "5"], ["1.5"]),
        ({"const": LONG}, [str(LONG)], ["1", "1.5", str(LONG + 9999)]),
        ({"type": "integer", "enum": [LONG, 7]}, [str(LONG), "7"], ["8"]),
        ({"enum": ["a", 2**64]}, ['"a"', str(2**64)], ['"b"']),
        (
            {"const": {"id": LONG, "of": [1, 2**70]}}, [f'{{"id":{LONG},"of":[1,{2**70}]}}'],
            ["{}", f'{{"id":{LONG},"of":[2,{2**70}]}}'],
        ),
        ({"$ref": "#/$defs/id", "$defs": {"id": {"anyOf": [{"const": LONG}]}}}, [str(LONG)], ["1"]),
        ({"type": "array", "items": {"maximum": FLOAT32, "type": "number"}, "minItems": 1}, ["[1e30]"], ["[]"]),
    ],
)  # fmt: skip
def test_large_bounds_and_long_integers_are_enforced(schema: Any, right: list[str], wrong: list[str]) -> None:
    assert all(takes(schema, text) for text in right)
    assert not any(takes(schema, text) for text in wrong)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer", "minimum": -5, "maximum": 2**53},
        {"const": 2**53}, {"enum": [True, None, 1.5, "1285704473650888702"]},
        {"properties": {"maximum": {"type": "string"}, "const": {"type": "number"}, "enum": {"maximum": 7}}},
        {"default": LONG, "examples": [FLOAT32], "type": "integer"},
        {"exclusiveMinimum": True}, True, {},
    ],
)  # fmt: skip
def test_supported_schema_is_left_unchanged(schema: Any) -> None:
    text = json.dumps(schema, indent=1)
    assert supported_schema(text) is text


def test_bounds_out_of_range_are_refused_with_a_hint() -> None:
    with pytest.raises(Refusal, match="range") as refusal:
        takes({"type": "number", "minimum": 1e30}, "2e30")
    assert "remove it" in refusal.value.hint
    with pytest.raises(Refusal, match="not JSON"):
        Grammar(WORDS, '{"const": 1e999}', None)


def test_smallest_value_of_number_schemas_is_exact() -> None:
    for schema, found in (
        ({"const": LONG}, str(LONG)), ({"enum": [2**80]}, str(2**80)),
        ({"type": "integer", "minimum": LONG, "maximum": LONG + 9}, str(LONG)),
        ({"type": "integer", "maximum": -LONG, "minimum": -LONG - 9}, str(-LONG)),
        ({"type": "number", "minimum": -FLOAT32, "maximum": FLOAT32}, "0"),
    ):  # fmt: skip
        assert smallest(WORDS, json.dumps(schema), None) == found
