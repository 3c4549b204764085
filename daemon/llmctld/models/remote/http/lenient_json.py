"""JSON as servers write it, which is not always JSON: numbers as strings, NaN, halves of characters, bytes that are no text.

It knows values, and nothing of what they are for. Whoever asks for a kind gets it, or None where nothing of that kind is there.
"""

import json
import re
from typing import Any

import msgspec

_DECODER = json.JSONDecoder(strict=False)
_HALF = re.compile("[\ud800-\udfff]")


def loads(data: bytes) -> Any:
    """The value. Raises ValueError for what is none even so."""
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        return _DECODER.decode(data.decode("utf-8-sig", "replace").strip())
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def is_whole(data: bytes) -> bool:
    """Whether it is a value from its beginning to its end."""
    try:
        loads(data)
    except ValueError:
        return False
    return True


def number(value: Any) -> float | None:
    """Also of a string."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def count(value: Any) -> int | None:
    """A number of things, 0 or more."""
    found = number(value)
    return int(found) if found is not None and 0 <= found < 2**63 else None


def mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def whole(text: str) -> str:
    """What can be written down: two halves of a character beside each other are that character, and one alone is none."""
    if _HALF.search(text) is None:
        return text
    return _HALF.sub("\ufffd", text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass"))


class Letters:
    """Text that comes in pieces, some of which end in the midst of a character. What it gives never does."""

    def __init__(self) -> None:
        self._half = ""

    def feed(self, text: str) -> str:
        if not text:
            return ""
        text, self._half = self._half + text, ""
        if "\ud800" <= text[-1] <= "\udbff":
            text, self._half = text[:-1], text[-1]
        return whole(text)

    def end(self) -> str:
        half, self._half = self._half, ""
        return whole(half)
