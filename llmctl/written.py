"""What people write by hand and llmctl reads: files, lines of JSON, keys with values; and in words what is wrong with one.

It knows no command and no message: what a field means is its reader's business.
"""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, BinaryIO, TypeVar

import msgspec

from llmctl.errors import InvalidRequest, NotFound, nearest, short
from llmctl.paths import expanded

T = TypeVar("T")
MARK = b"\xef\xbb\xbf"
"""The UTF-8 byte order mark, with which some editors begin a file."""
UTF16 = (b"\xff\xfe", b"\xfe\xff")
"""The marks of the other one, which some shells of Windows write."""
TO_UTF8 = "Only UTF-8 text can be sent; convert it, for instance with `iconv -t utf-8`."
KINDS = {
    "str": "a string", "int": "a whole number", "float": "a number", "bool": "true or false", "object": "an object",
    "array": "a list", "null": "null",
}  # fmt: skip
"""What msgspec calls a type -> what its reader does."""
BOUNDS = {">=": "of {} or more", "<=": "of {} or less", ">": "above {}", "<": "below {}"}
EXPECTED = re.compile(r"Expected `([^`]+)`(?:, got `.+`| (>=|<=|>|<) (.+))$")
NEAR = 20
"""Characters on either side of what is wrong in a line."""


def opened(name: str, hint: str) -> BinaryIO:
    """The file of that name; `hint` says what it should be. Raises NotFound with the nearest names, InvalidRequest."""
    path = expanded(name)
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        if name == "-":
            raise NotFound("there is no file -", "Stdin is read by itself: leave `-f -` out.") from error
        near = ""
        with suppress(OSError):
            near = nearest(path.name, os.listdir(path.parent))
        raise NotFound(f"there is no file {name}", near or hint) from error
    except IsADirectoryError as error:
        raise InvalidRequest(f"{name} is a folder, and no file", hint) from error
    except OSError as error:
        raise unreadable(name, error) from error


def unreadable(name: str, error: OSError) -> InvalidRequest:
    return InvalidRequest(f"the file {name} cannot be read: {error.strerror}", "Check the path and its permissions.")


def unmarked(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines without the mark that the first one may begin with."""
    for number, line in enumerate(lines):
        yield line if number else line.removeprefix(MARK)


def decode_text(data: bytes, source: str) -> str:
    """UTF-8 without NUL, and without a mark at its beginning. Raises InvalidRequest that names the byte and where it stands."""
    if data.startswith(UTF16):
        raise InvalidRequest(f"{source} is UTF-16 text", TO_UTF8.replace("-t", "-f utf-16 -t"))
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        byte = data[error.start]
        raise InvalidRequest(f"{source} is not text: byte 0x{byte:02x} at offset {error.start}", TO_UTF8) from error
    if "\0" in text:
        raise InvalidRequest(f"{source} is not text: byte 0x00 at offset {data.index(0)}", TO_UTF8)
    return text.removeprefix("\ufeff")


def object_of(line: bytes, example: str) -> dict[str, Any]:
    """The JSON object that a line holds; `example` shows one. Raises InvalidRequest."""
    text = decode_text(line, "the line").strip()
    try:
        found = msgspec.json.decode(text)
    except RecursionError as error:
        raise InvalidRequest(f"this is nested too deep: {short(text)}", f"A line reads {example}") from error
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"this is not JSON: {_place(text, str(error))}", f"A line reads {example}") from error
    if not isinstance(found, dict):
        raise InvalidRequest(f"this is no JSON object: {short(text)}", f"A line reads {example}")
    return found


def _place(text: str, words: str) -> str:
    """Where a text stops to be JSON. msgspec counts bytes, from 0."""
    found = re.search(r"\(byte (\d+)\)", words)
    if found is None and "truncated" not in words:  # as "Number out of range - at `$[...]`"
        return f"{words.partition(' - ')[0].lower()}, in {short(text)!r}"
    if found is None:
        return f"it ends too soon, behind {text[-2 * NEAR :]!r}"
    at = len(text.encode()[: int(found[1])].decode(errors="ignore"))
    return f"wrong from character {at + 1} on, in {text[max(0, at - NEAR) : at + NEAR]!r}"


def fitted(values: Mapping[str, Any], kind: type[T]) -> T:
    """`values` as a `kind`. Raises InvalidRequest that names the field, what it holds, and what is asked for."""
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(misfit(str(error), values)) from error


def misfit(words: str, values: Mapping[str, Any]) -> str:
    """What msgspec says of `values`, in words of their writer."""
    what, _, where = words.partition(" - at `$.")
    field, expected = where.rstrip("`"), EXPECTED.match(what)
    if not field or expected is None:
        return f"{field or 'the whole'}: {what[:1].lower()}{what[1:]}"
    kinds, bound, limit = expected.groups()
    wanted = " or ".join(KINDS.get(kind, kind) for kind in kinds.split(" | ") if kind != "null")
    more = f" {BOUNDS[bound].format(limit.removesuffix('.0'))}" if bound else ""
    return f"{field.replace('[...]', '')} is {_held(values, field)}, and must be {wanted}{more}"


def _held(values: Any, field: str) -> str:
    """What stands in a field, in JSON. It reads `stop[0]`, or `logit_bias[...]` for some key of a mapping: all of that."""
    for step in re.findall(r"[^.\[\]]+", field):
        values = values[int(step)] if isinstance(values, list) else values[step]
    return short(msgspec.json.encode(values, enc_hook=str).decode())
