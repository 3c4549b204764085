"""Server-sent events out of bytes, as they arrive in pieces of any size (html.spec.whatwg.org, 9.2.6), and as servers send them.

It knows fields and lines, and of an event's data only whether it is JSON from its beginning to its end: where servers leave out
the empty line between events, or the very word `data`, nothing else tells where one ends.
"""

from typing import NamedTuple

from llmctld.models.remote.http.lenient_json import is_whole

MOST = 8 * 2**20
"""Bytes of one event: beyond it something else than a model is talking."""
BOM = b"\xef\xbb\xbf"
DONE = b"[DONE]"
SHOWN = 400
"""Bytes of what is no event."""
WHOLE_CHECKS = 64
"""How often the lines of one event are looked at as a whole: each look reads all of them."""


class TooLong(ValueError):
    """An event, or a line, does not end."""


class Event(NamedTuple):
    """`kind` is what the server calls it, mostly nothing."""

    data: bytes
    kind: str = ""


class EventReader:
    """Feed it bytes; each call returns the events that are complete now. `strange`: the first lines that are part of none."""

    def __init__(self, most: int = MOST) -> None:
        self._most, self._rest, self._seen = most, bytearray(), 0
        self._after_return = False
        self._data: list[bytes] = []
        self._size = self._tries = 0
        self._kind = ""
        self._bare = False
        self.strange = b""

    def feed(self, piece: bytes) -> list[Event]:
        """Raises TooLong."""
        self._rest += self._with_line_feeds(piece)
        found: list[Event] = []
        start = 0
        while (end := self._rest.find(b"\n", max(start, self._seen))) >= 0:
            found += self._line(bytes(self._rest[start:end]))
            start = end + 1
        del self._rest[:start]
        self._seen = len(self._rest)
        if self._seen + self._size > self._most:
            raise TooLong(f"an event of more than {self._most} bytes")
        return found

    def _with_line_feeds(self, piece: bytes) -> bytes:
        """A line ends with either character, or with both, of which each may come alone."""
        if self._after_return and piece:
            piece, self._after_return = piece.removeprefix(b"\n"), False
        if b"\r" in piece:
            self._after_return = piece.endswith(b"\r")
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return piece

    def end(self) -> list[Event]:
        """What was complete but for the line end or the empty line that should have followed; never a part of an event."""
        last, self._rest, self._seen = bytes(self._rest), bytearray(), 0
        found = self._line(last) if last else []
        self._tries = 0
        if self._data and self._data[0].lstrip()[:1] in (b"{", b"[") and not self._whole():
            self.strange = self.strange or (self._data[0][:SHOWN] if self._bare else b"")
            self._data = []
        elif self._kind == "error" and not self._data:
            self._data = [b""]  # its name says enough
        return found + self._dispatch()

    def _line(self, line: bytes) -> list[Event]:
        line = line.removeprefix(BOM)
        if self._bare and not line.startswith((b"data:", b"event:")):
            return self._more(line)
        if not line.strip():
            return self._dispatch()
        if line.lstrip()[:1] in (b"{", b"["):
            before = self._dispatch()
            self._bare = True
            return before + self._more(line)
        return self._field(line)

    def _field(self, line: bytes) -> list[Event]:
        name, _, value = line.strip(b" \t").partition(b":")
        name, value = name.strip(), value.removeprefix(b" ")
        found: list[Event] = []
        if name in (b"data", b"event", b"error") and (self._bare or (self._data and self._whole())):
            found = self._dispatch()  # the empty line between them is missing
        if name == b"data":
            self._add(value)
        elif name == b"event":
            self._kind = value.strip().decode(errors="replace").lower()
        elif name == b"error":  # so llama.cpp's server began a line that tells of a failure
            self._kind = "error"
            self._add(value)
        elif name not in (b"", b"id", b"retry") and len(self.strange) < SHOWN:
            self.strange += line[:SHOWN] + b"\n"
        return found

    def _more(self, line: bytes) -> list[Event]:
        """A line of JSON without the word `data` in front: an event for each line, or a single one over many lines."""
        first, ends = not self._data, line[:1] in (b"}", b"]") or not line.strip()
        self._add(line)
        return self._dispatch() if (first or ends) and self._whole() else []

    def _add(self, value: bytes) -> None:
        self._data.append(value)
        self._size += len(value) + 1

    def _whole(self) -> bool:
        self._tries += 1
        if self._tries > WHOLE_CHECKS:
            return False
        data = b"\n".join(self._data).strip()
        return data == DONE or is_whole(data)

    def _dispatch(self) -> list[Event]:
        """The event that came to its end, if it has data. The name of one that has none belongs to the next one: so do some."""
        if not self._data:
            return []
        event = Event(b"\n".join(self._data), self._kind)
        self._data, self._size, self._tries, self._kind, self._bare = [], 0, 0, "", False
        return [event]
