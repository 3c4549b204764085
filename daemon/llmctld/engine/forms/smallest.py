"""Finds a small answer that a schema or grammar allows: echo's answer when one is given.

It knows JSON schemas and gbnf.py's rules, no tokens. The answer is validated later.
"""

import math
from collections.abc import Callable
from typing import Any

import msgspec

from llmctld.engine.forms.gbnf import Alternation, Chars, Name, Node, Repeat, Rules, children

TEXT_LENGTH = 65_536
"""Limit in characters: two dozen rules that double each other would produce gigabytes."""
FORMATS = {
    "date": "2000-01-01",
    "time": "00:00:00Z",
    "date-time": "2000-01-01T00:00:00Z",
    "duration": "P1D",
    "email": "a@b.c",
    "hostname": "a",
    "ipv4": "0.0.0.0",
    "ipv6": "::",
    "uri": "a:b",
    "uuid": "00000000-0000-0000-0000-000000000000",
}
SPEAKS_OF = {
    **dict.fromkeys(("properties", "required", "additionalProperties"), "object"),
    **dict.fromkeys(("items", "prefixItems", "minItems"), "array"),
    **dict.fromkeys(("pattern", "minLength", "format"), "string"),
}
"""Keyword -> the type it applies to."""
Schema = dict[str, Any]
NONE = object()
"""No value (null is a value)."""


# ---- of a schema ----------------------------------------------------------------------------------------------------


def smallest_value(schema: Any) -> str | None:
    """A small JSON text that satisfies `schema`, members in its order; None if none is found."""
    found = Search(schema).value(schema)
    return None if found is NONE else msgspec.json.encode(found).decode()


class Search:
    """`value` of a part of `root`; a part that refers to itself has no value within itself."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._open: set[str] = set()
        self._kinds: dict[str, Callable[[Schema], Any]] = {
            "null": lambda _: None, "boolean": lambda _: False, "integer": _integer, "number": _number, "string": _string,
            "array": self._array, "object": self._object,
        }  # fmt: skip

    def value(self, schema: Any) -> Any:
        if isinstance(schema, bool):
            return None if schema else NONE
        for key, find in (("$ref", self._referred), ("allOf", self._all), ("anyOf", self._any), ("oneOf", self._any)):
            if key in schema:
                return find(schema, key)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return min(schema["enum"], key=_size, default=NONE)
        kinds = schema.get("type", _guessed(schema))
        values = [self._kinds[kind](schema) for kind in ([kinds] if isinstance(kinds, str) else kinds)]
        return min(values, key=_size, default=NONE)

    def _referred(self, schema: Schema, key: str) -> Any:
        place = schema[key]
        if place in self._open or not place.startswith("#"):
            return NONE
        target = self._root
        for part in place[1:].split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            target = target[int(name)] if isinstance(target, list) else target.get(name, False)
        self._open.add(place)
        try:
            return self.value(_joined([target, _without(schema, key)]))
        finally:
            self._open.discard(place)

    def _any(self, schema: Schema, key: str) -> Any:
        rest = _without(schema, key)
        return min((self.value(_joined([rest, option])) for option in schema[key]), key=_size, default=NONE)

    def _all(self, schema: Schema, key: str) -> Any:
        return self.value(_joined([*schema[key], _without(schema, key)]))

    def _array(self, schema: Schema) -> Any:
        first = schema.get("prefixItems", [])
        count = schema.get("minItems", 0)
        items = [self.value(each) for each in first[:count]]
        if count > len(items):
            items += [self.value(schema.get("items", True))] * min(count - len(items), TEXT_LENGTH)
        return NONE if any(item is NONE for item in items) else items

    def _object(self, schema: Schema) -> Any:
        properties, required = schema.get("properties", {}), schema.get("required", [])
        order = [name for name in properties if name in required]
        order += [name for name in required if name not in properties]
        others = schema.get("additionalProperties", True)
        members = {name: self.value(properties.get(name, others)) for name in order}
        return NONE if any(member is NONE for member in members.values()) else members


def _size(value: Any) -> float:
    return math.inf if value is NONE else len(msgspec.json.encode(value))


def _without(schema: Schema, key: str) -> Schema:
    return {name: value for name, value in schema.items() if name not in (key, "$defs", "definitions")}


def _joined(schemas: list[Any]) -> Any:
    """Merge schemas whose keywords do not conflict; members and required names are combined."""
    found: Schema = {}
    for schema in schemas:
        if isinstance(schema, bool):
            if not schema:
                return False
            continue
        both = {
            "properties": {**found.get("properties", {}), **schema.get("properties", {})},
            "required": [*found.get("required", []), *schema.get("required", [])],
        }
        found = {**found, **schema, **{key: value for key, value in both.items() if value}}
    return found


def _guessed(schema: Schema) -> str:
    """The type that the keywords apply to; any type if they name none."""
    return next((SPEAKS_OF[key] for key in schema if key in SPEAKS_OF), "integer")


def _integer(schema: Schema) -> Any:
    return _nearest_to_zero(schema, schema.get("multipleOf", 1), 1)


def _number(schema: Schema) -> Any:
    found = _nearest_to_zero(schema, schema.get("multipleOf", 1), schema.get("multipleOf", 1))
    low, high = (
        schema.get("minimum", schema.get("exclusiveMinimum")),
        schema.get("maximum", schema.get("exclusiveMaximum")),
    )
    if found is NONE and low is not None and high is not None and "multipleOf" not in schema:
        return (low + high) / 2
    return found


def _nearest_to_zero(schema: Schema, step: float, unit: float) -> Any:
    low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf))
    high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf))
    start = low if low > 0 else high if high < 0 else 0
    whole = isinstance(start, int) and isinstance(step, int)  # floats of more than 53 bits are not exact
    steps = -(-start // step) if start >= 0 else start // step
    value = (steps if whole else math.ceil(start / step) if start >= 0 else math.floor(start / step)) * step
    if value in (schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")):
        value += step if value == schema.get("exclusiveMinimum") else -step
    found = int(value) if value == int(value) else value
    return found if low <= value <= high and (unit != 1 or value == int(value)) else NONE


def _string(schema: Schema) -> Any:
    if "pattern" in schema:
        return matching(schema["pattern"])
    return FORMATS.get(schema.get("format", ""), "").ljust(min(schema.get("minLength", 0), TEXT_LENGTH), "a")


def matching(pattern: str) -> Any:
    """A short text that the regular expression matches; NONE if none is found."""
    try:
        from re import _parser  # type: ignore[attr-defined]  # since Python 3.11
    except ImportError:
        import sre_parse as _parser
    try:
        return _written(_parser.parse(pattern))
    except Exception:  # noqa: BLE001 - a dialect of its own: what this cannot read has no smallest text here
        return NONE


def _written(parsed: Any) -> str:
    return "".join(_part(str(kind), argument) for kind, argument in parsed)


def _part(kind: str, argument: Any) -> str:
    if kind == "LITERAL":
        return chr(argument)
    if kind == "IN":
        return _member(argument)
    if kind == "BRANCH":
        return min((_written(branch) for branch in argument[1]), key=len)
    if kind == "SUBPATTERN":
        return _written(argument[-1])
    if kind.endswith("_REPEAT"):
        return _written(argument[2]) * int(argument[0])
    return {"AT": "", "ANY": "a", "NOT_LITERAL": "b" if argument == ord("a") else "a"}[kind]


def _member(members: Any) -> str:
    """The first character of a class; `a` if it is a member."""
    wanted = str(members[0][0]) != "NEGATE"
    return next(
        chr(code) for code in (ord("a"), *range(0x20, 0x2000)) if wanted == any(_holds(code, *each) for each in members)
    )


def _holds(code: int, kind: Any, argument: Any) -> bool:
    categories = {"CATEGORY_DIGIT": chr(code).isdigit(), "CATEGORY_SPACE": chr(code).isspace(),
                  "CATEGORY_WORD": chr(code).isalnum() or code == ord("_")}  # fmt: skip
    if str(kind) == "CATEGORY":
        name = str(argument).replace("_NOT_", "_")
        return categories[name] != ("_NOT_" in str(argument))
    return (
        bool(code == argument)
        if str(kind) == "LITERAL"
        else str(kind) == "RANGE" and argument[0] <= code <= argument[1]
    )


# ---- of a grammar ---------------------------------------------------------------------------------------------------


def shortest_text(rules: Rules) -> str | None:
    """A shortest text of `root`; None if there is none of at most TEXT_LENGTH characters."""
    known: dict[str, str] = {}
    changed = True
    while changed:  # Knuth's generalisation of Dijkstra's algorithm (1977), without its queue
        changed = False
        for name, body in rules.items():
            text = _shortest(body, known)
            if text is not None and (name not in known or len(text) < len(known[name])):
                known[name], changed = text, True
    return known.get("root")


def _shortest(node: Node, known: dict[str, str]) -> str | None:
    if isinstance(node, Chars):
        return _any_of(node)
    if isinstance(node, Name):
        return known.get(node.rule)
    if isinstance(node, Repeat):
        text = _shortest(node.item, known) if node.low else ""
        return None if text is None or len(text) * node.low > TEXT_LENGTH else text * node.low
    texts = [_shortest(child, known) for child in children(node)]
    found = [text for text in texts if text is not None]
    if isinstance(node, Alternation):
        return min(found, key=len, default=None)
    return "".join(found) if len(found) == len(texts) and sum(map(len, found)) <= TEXT_LENGTH else None


def _any_of(chars: Chars) -> str | None:
    """`a`, or else the first character of the class."""
    inside = [range(ord(low), ord(high) + 1) for low, high in chars.ranges]
    candidates = [ord("a"), *range(0x20, 0x2000)] if chars.negated else [ord("a"), *(each[0] for each in inside)]
    return next((chr(code) for code in candidates if any(code in each for each in inside) != chars.negated), None)
