"""Reading files, JSON lines and values that people write, with errors in plain words.

It knows no command and no message; the caller knows what a field means.
"""

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, BinaryIO, TypeVar

import msgspec

from llmctl.errors import InvalidRequest, NotFound, short
from llmctl.misfits import misfit_of
from llmctl.paths import expanded

T = TypeVar("T")
MARK = b"\xef\xbb\xbf"
"""The UTF-8 byte order mark, which some editors put at the start of a file."""
UTF16 = (b"\xff\xfe", b"\xfe\xff")
"""Byte order marks of UTF-16, which some Windows shells write."""
TO_UTF8 = "Only UTF-8 text can be sent; convert it, for instance with `iconv -t utf-8`."
KINDS = {
    "str": "a string", "int": "a whole number", "float": "a number", "bool": "true or false", "object": "an object",
    "array": "a list", "null": "null",
}  # fmt: skip
"""msgspec's name of a type -> its name in an error."""
BOUNDS = {">=": "of {} or more", "<=": "of {} or less", ">": "above {}", "<": "below {}"}
NEAR = 20
"""Characters shown on either side of an error in a line."""


def opened(name: str, hint: str, at: str | None = None) -> BinaryIO:
    """The opened file; `hint` says what kind of file is needed. `at`: its path, if not its name.

    Raises NotFound with the nearest names, InvalidRequest.
    """
    path = expanded(name if at is None else at)
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        if name == "-":
            raise NotFound("there is no file named -", "Omit `-f -`: stdin is read anyway.") from error
        near = ""
        with suppress(OSError):
            near = ", ".join(difflib.get_close_matches(path.name, os.listdir(path.parent), cutoff=0.7))
        raise NotFound(f"there is no file {name}", f"Did you mean: {near}?" if near else hint) from error
    except IsADirectoryError as error:
        raise InvalidRequest(f"{name} is a folder, not a file", hint) from error
    except OSError as error:
        raise unreadable(name, error) from error


def unreadable(name: str, error: OSError) -> InvalidRequest:
    return InvalidRequest(f"cannot read the file {name}: {error.strerror}", "Check the path and its permissions.")


def lines_of(file: BinaryIO, name: str, most: int) -> Iterator[bytes]:
    """The lines of a file, of which none may have more than `most` bytes: a device has one without end.

    Raises InvalidRequest.
    """
    number = 1
    try:
        while line := file.readline(most + 1):
            check_line(line, name, number, most)
            yield line
            number += 1
    except OSError as error:
        raise unreadable(name, error) from error


def check_line(line: bytes | bytearray, name: str, number: int, most: int) -> None:
    if len(line) > most:
        raise InvalidRequest(f"line {number} of {name} has more than {most} bytes", "Is it a file of JSON lines?")


def unmarked(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines, without a byte order mark on the first one."""
    for number, line in enumerate(lines):
        yield line if number else line.removeprefix(MARK)


def decode_text(data: bytes, source: str) -> str:
    """Decodes UTF-8 and drops a byte order mark. Raises InvalidRequest that names an invalid byte (or NUL) and its offset."""
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
    """The JSON object on a line; `example` is shown in errors. Raises InvalidRequest."""
    text = decode_text(line, "the line").strip()
    try:
        found = msgspec.json.decode(text)
    except RecursionError as error:
        raise InvalidRequest(f"this is nested too deeply: {short(text)}", f"A line looks like {example}") from error
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"this is not JSON: {_place(text, str(error))}", f"A line looks like {example}") from error
    if not isinstance(found, dict):
        raise InvalidRequest(f"this is not a JSON object: {short(text)}", f"A line looks like {example}")
    return found


def _place(text: str, words: str) -> str:
    """Where a text stops being JSON. msgspec counts bytes from 0."""
    found = re.search(r"\(byte (\d+)\)", words)
    if found is None and "truncated" not in words:  # as "Number out of range - at `$[...]`"
        return f"{words.partition(' - ')[0].lower()}, in {short(text)!r}"
    if found is None:
        return f"it ends too early, after {text[-2 * NEAR :]!r}"
    at = len(text.encode()[: int(found[1])].decode(errors="ignore"))
    return f"error at character {at + 1}, in {text[max(0, at - NEAR) : at + NEAR]!r}"


def fitted(values: Mapping[str, Any], kind: type[T]) -> T:
    """`values` as a `kind`. Raises InvalidRequest that names the field, its value and the expected type."""
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequest(misfit(str(error), values)) from error


def misfit(words: str, values: Mapping[str, Any]) -> str:
    """msgspec's error about `values` in plain words."""
    found = misfit_of(words)
    if not found.field or not found.kinds:
        return f"{found.field or 'the whole'}: {found.words[:1].lower()}{found.words[1:]}"
    wanted = " or ".join(KINDS.get(kind, kind) for kind in found.kinds if kind != "null")
    more = f" {BOUNDS[found.bound].format(found.limit)}" if found.bound else ""
    return f"{found.field.replace('[...]', '')} is {_held(values, found.field)}; it must be {wanted}{more}"


def _held(values: Any, field: str) -> str:
    """The value of a field in JSON. `field` looks like `stop[0]`; for `logit_bias[...]` the whole mapping."""
    for step in re.findall(r"[^.\[\]]+", field):
        values = values[int(step)] if isinstance(values, list) else values[step]
    return short(msgspec.json.encode(values, enc_hook=str).decode())
