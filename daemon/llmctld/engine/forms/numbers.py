"""Numbers of a schema that the grammar library cannot hold an answer to, in a form that it takes; the check at the end has
the schema itself.

It compiles bounds as 64-bit floats: one beyond 9.2e18 fails, as the float32 and int64 bounds that programs write do, one nearer
to 0 than 1e-60 fails, and a whole number of more than 53 bits comes out as another one. Nothing else of a schema is known here.
"""

import math
from typing import Any

import msgspec

FARTHEST = 9.0e18
NEAREST = 1e-60
EXACT = 2**53
"""Up to here each whole number is a float of its own."""
OF_ONE = (
    "items", "additionalItems", "unevaluatedItems", "contains", "additionalProperties", "unevaluatedProperties", "propertyNames",
    "not", "if", "then", "else",
)  # fmt: skip
OF_MANY = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
BY_NAME = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
"""Keywords that hold schemas."""
BELOW = ("minimum", "exclusiveMinimum")
ABOVE = ("maximum", "exclusiveMaximum")
Schema = dict[str, Any]


def holdable(schema: str) -> str:
    """The schema (JSON), unchanged where the library takes all of its numbers. Raises msgspec.DecodeError, RecursionError."""
    was = msgspec.json.decode(schema)
    found = _schema(was)
    return schema if found == was else msgspec.json.encode(found).decode()


def _schema(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    found: Schema = {}
    for key, value in schema.items():
        if key in OF_MANY and isinstance(value, list):
            found[key] = [_schema(each) for each in value]
        elif key in OF_ONE:
            found[key] = _schema(value)
        elif key in BY_NAME and isinstance(value, dict):
            found[key] = {name: _schema(each) for name, each in value.items()}
        elif key in BELOW or key in ABOVE:
            found |= _bound(key, value)
        else:
            found[key] = value
    return _listed(found)


def _bound(key: str, value: Any) -> Schema:
    """A far bound is none; one next to 0 is 0; a whole number becomes the next float outside."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return {key: value}
    side = -1 if key in BELOW else 1
    if value * side >= FARTHEST:
        return {}
    if 0 < -value * side < NEAREST:
        return {"exclusiveMinimum" if side < 0 else "exclusiveMaximum": 0}
    return {key: _outside(value, side) if abs(value) < FARTHEST else value}


def _outside(value: float, side: int) -> float:
    if not isinstance(value, int) or abs(value) <= EXACT:
        return value
    near = int(float(value))
    return near if (near - value) * side >= 0 else int(math.nextafter(float(value), side * math.inf))


def _listed(schema: Schema) -> Schema:
    """`const` and `enum`: what holds such a number is described instead."""
    values = [schema["const"]] if "const" in schema else schema.get("enum", [])
    if not isinstance(values, list) or not any(map(_is_long, values)):
        return schema
    options = [_described(each) for each in values]
    rest = {key: value for key, value in schema.items() if key not in ("const", "enum")}
    either = options[0] if len(options) == 1 else {"anyOf": options}
    return {"allOf": [rest, either]} if rest else either


def _is_long(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (isinstance(value, int) and abs(value) > EXACT) or any(map(_is_long, inner))


def _described(value: Any) -> Schema:
    if not _is_long(value):
        return {"const": value}
    if isinstance(value, dict):
        members = {name: _described(each) for name, each in value.items()}
        return {"type": "object", "properties": members, "required": list(value), "additionalProperties": False}
    if isinstance(value, list):
        return {
            "type": "array",
            "prefixItems": [_described(each) for each in value],
            "items": False,
            "minItems": len(value),
        }
    if abs(value) >= FARTHEST:
        return {"type": "integer"}
    return {"type": "integer", "minimum": _outside(value, -1), "maximum": _outside(value, 1)}
