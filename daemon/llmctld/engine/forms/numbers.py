"""Rewrites numbers of a schema that the grammar library cannot handle. The final check uses the original schema.

The library compiles bounds as 64-bit floats: bounds beyond 9.2e18 fail (such as those of float32 and int64 types), bounds closer
to 0 than 1e-60 fail, and integers of more than 53 bits are rounded.
"""

import math
from typing import Any

import msgspec

FARTHEST = 9.0e18
NEAREST = 1e-60
EXACT = 2**53
"""Largest range in which every integer is a float."""
OF_ONE = (
    "items", "additionalItems", "unevaluatedItems", "contains", "additionalProperties", "unevaluatedProperties", "propertyNames",
    "not", "if", "then", "else",
)  # fmt: skip
OF_MANY = ("allOf", "anyOf", "oneOf", "prefixItems", "items")
BY_NAME = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
"""Keywords whose values map names to schemas."""
BELOW = ("minimum", "exclusiveMinimum")
ABOVE = ("maximum", "exclusiveMaximum")
Schema = dict[str, Any]


def supported_schema(schema: str) -> str:
    """The schema (JSON), unchanged if the library handles all its numbers. Raises msgspec.DecodeError, RecursionError."""
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
    """Drop a bound that is too large; replace one close to 0 by 0, and an integer by the next float outside."""
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
    """`const` and `enum`: describe values with such numbers instead of listing them."""
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
