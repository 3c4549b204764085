"""The values of `--schema` that are not files: JSON, or the short form `name, age int, note: what it means`.

It turns them into JSON; the hub decides whether a schema is supported.
"""

import re
from typing import Any

from llmctl.errors import Usage, nearest

TYPES: dict[str, dict[str, Any]] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "list": {"type": "array", "items": {"type": "string"}},
}
"""Type in the short form -> its schema; the default is str."""
FIELD = re.compile(r"\s*(?P<name>[\w-]+)(?:\s+(?P<type>\w+))?\s*(?::\s*(?P<meaning>.*?))?\s*", re.DOTALL)
HINT = "Give a file, JSON that begins with {, or the short form: `--schema 'name, age int, tags list, note: what it means'`."


def parse_schema(given: str | dict[str, Any], source: str) -> str:
    """JSON on one line with members in order, so that schemas that differ only in layout share stored answers."""
    import json

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is not JSON")

    try:
        value = json.loads(given, parse_constant=refuse) if isinstance(given, str) else given
        if not isinstance(value, dict):
            raise Usage(f"{source} is not a JSON object", HINT)
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError) as error:
        raise Usage(f"{source} is not JSON: {error}", HINT) from error


def from_short_form(text: str) -> str:
    """Fields separated by commas, or one per line (then descriptions may contain commas); all are required."""
    parts = text.strip().splitlines() if "\n" in text.strip() else text.split(",")
    properties: dict[str, Any] = {}
    for part in parts:
        found = FIELD.fullmatch(part)
        if found is None:
            raise Usage(
                f"--schema {text!r}: there is no such file, and {part.strip()!r} is not a field of the short form", HINT
            )
        name, kind = found["name"], found["type"] or "str"
        if kind not in TYPES:
            raise Usage(f"--schema: the field {name} has the unknown type {kind!r}", nearest(kind, TYPES))
        if name in properties:
            raise Usage(f"--schema: there are two fields named {name}", "Give each field its own name.")
        properties[name] = {**TYPES[kind], **({"description": found["meaning"]} if found["meaning"] else {})}
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return parse_schema(schema, "--schema")
