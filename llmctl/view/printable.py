"""Escaping control characters, so that a terminal prints text and executes nothing in it."""

STEERING = (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Control characters of ASCII and Latin-1, and those that change the direction of text."""
ESCAPED = {code: ascii(chr(code))[1:-1] for code in STEERING if chr(code) not in "\n\t"}
AS_JSON = {code: f"\\u{code:04x}" for code in STEERING}
"""The same within JSON."""


def printable(text: str) -> str:
    r"""`text` with control characters escaped, as in \x1b; newlines and tabs stay."""
    return text.translate(ESCAPED)
