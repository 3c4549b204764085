"""Escaping control characters, so that a terminal prints text and executes nothing in it."""

MARKS = (0x061C, 0x200E, 0x200F)
"""Invisible marks that turn the direction of what stands beside them."""
STEERING = (*range(0x20), *range(0x7F, 0xA0), *MARKS, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
"""Control characters of ASCII and Latin-1, and all that change the direction of text (Unicode's Bidi_Control)."""
ESCAPED = {code: ascii(chr(code))[1:-1] for code in STEERING if chr(code) not in "\n\t"}
AS_JSON = {code: f"\\u{code:04x}" for code in STEERING}
"""The same within JSON."""


def printable(text: str) -> str:
    r"""`text` with control characters escaped, as in \x1b; newlines and tabs stay."""
    return text.translate(ESCAPED)


class Pieces:
    r"""Text that arrives in pieces, cut anywhere: a line end \r\n is one newline, even if it is cut in two.

    Every other control character is escaped by itself, so no sequence is left that the next piece could complete.
    """

    def __init__(self) -> None:
        self._held = ""

    def printable(self, piece: str) -> str:
        """The next piece, made safe; a \r at its end waits for the next one."""
        text = self._held + piece
        self._held = "\r" if text.endswith("\r") else ""
        return printable(text[: len(text) - len(self._held)].replace("\r\n", "\n"))
