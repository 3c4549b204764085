"""What `--schema` takes, besides a file: JSON, or the short form `name, age int, note: what it means`.

It reads and rewrites; whether a schema can be kept to, and what it means, the hub decides.
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
"""Word of the short form -> its schema; no word is str."""
FIELD = re.compile(r"\s*(?P<name>[\w-]+)(?:\s+(?P<type>\w+))?\s*(?::\s*(?P<meaning>.*?))?\s*", re.DOTALL)
HINT = "Give a file, JSON that begins with {, or the short form: `--schema 'name, age int, tags list, note: what it means'`."


def parse_schema(given: str | dict[str, Any], source: str) -> str:
    """JSON on one line, members in their order: equal schemas share stored answers however they are laid out."""
    import json

    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    try:
        value = json.loads(given, parse_constant=refuse) if isinstance(given, str) else given
        if not isinstance(value, dict):
            raise Usage(f"{source} is no JSON object", HINT)
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError) as error:
        raise Usage(f"{source} is no JSON: {error}", HINT) from error


def from_short_form(text: str) -> str:
    """Fields between commas, or one a line where there are lines (a meaning may hold commas then); all are required."""
    parts = text.strip().splitlines() if "\n" in text.strip() else text.split(",")
    properties: dict[str, Any] = {}
    for part in parts:
        found = FIELD.fullmatch(part)
        if found is None:
            raise Usage(
                f"--schema {text!r}: there is no such file, and {part.strip()!r} is no field of the short form", HINT
            )
        name, kind = found["name"], found["type"] or "str"
        if kind not in TYPES:
            raise Usage(f"--schema: the field {name} has the type {kind!r}", nearest(kind, TYPES))
        if name in properties:
            raise Usage(f"--schema: the field {name} stands there twice", "Give each field a name of its own.")
        properties[name] = {**TYPES[kind], **({"description": found["meaning"]} if found["meaning"] else {})}
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return parse_schema(schema, "--schema")
