"""Reads JSON as servers write it: with numbers as strings, NaN, lone surrogates, and invalid UTF-8.

Each function returns a value of its type, or None.
"""

import json
import re
from typing import Any

import msgspec

_DECODER = json.JSONDecoder(strict=False)
_HALF = re.compile("[\ud800-\udfff]")


def loads(data: bytes) -> Any:
    """The value. Raises ValueError if it is not JSON even so."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return _DECODER.decode(data.decode("utf-8-sig", "replace").strip())
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def is_whole(data: bytes) -> bool:
    """Whether the bytes are exactly one JSON value."""
    try:
        loads(data)
    except ValueError:
        return False
    return True


def number(value: Any) -> float | None:
    """The number, also from a string."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def count(value: Any) -> int | None:
    """A count: an integer from 0 on."""
    found = number(value)
    return int(found) if found is not None and 0 <= found < 2**63 else None


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def encodable(text: str) -> str:
    """Text that UTF-8 can encode: surrogate pairs are joined, lone surrogates replaced."""
    if _HALF.search(text) is None:
        return text
    return _HALF.sub("\ufffd", text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass"))


class Letters:
    """Joins text whose pieces may end within a surrogate pair. What it returns never does."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, text: str) -> str:
        if not text:
            return ""
        text, self._half = self._half + text, ""
        if "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return encodable(text)

    def end(self) -> str:
        half, self._half = self._half, ""
        return encodable(half)
