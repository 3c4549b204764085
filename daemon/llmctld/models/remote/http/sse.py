"""Parses server-sent events from pieces of any size (html.spec.whatwg.org, 9.2.6), also malformed ones as servers send
them.

Some servers omit the empty line between events, or the word `data`; then an event ends where its data is a complete
JSON value.
"""

from typing import NamedTuple

from llmctld.models.remote.http.lenient_json import is_whole

MOST = 8 * 2**20
"""Maximum size of an event; no model sends more."""
BOM = b"\xef\xbb\xbf"
DONE = b"[DONE]"
SHOWN = 400
"""Bytes kept of text outside events."""
WHOLE_CHECKS = 64
"""How often one event is tested for complete JSON; each test parses all of its lines."""


class TooLong(ValueError):
    """An event or a line exceeds the maximum size."""


class Event(NamedTuple):
    """`kind`: the event's name, mostly empty."""

    data: bytes
    kind: str = ""


class EventReader:
    """Takes bytes and returns the events completed by them. `strange`: the first lines outside events."""

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
        """Converts line ends: \r, \n or \r\n, which may be split between pieces."""
        if self._after_return and piece:
            piece, self._after_return = piece.removeprefix(b"\n"), False
        if b"\r" in piece:
            self._after_return = piece.endswith(b"\r")
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return piece

    def end(self) -> list[Event]:
        """The last event if only its line end or empty line is missing; never an incomplete one."""
        last, self._rest, self._seen = bytes(self._rest), bytearray(), 0
        found = self._line(last) if last else []
        self._tries = 0
        if self._data and self._data[0].lstrip()[:1] in (b"{", b"[") and not self._whole():
            self.strange = self.strange or (self._data[0][:SHOWN] if self._bare else b"")
            self._data = []
        elif self._kind == "error" and not self._data:
            self._data = [b""]  # its name is the message
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
            found = self._dispatch()  # the empty line between the events is missing
        if name == b"data":
            self._add(value)
        elif name == b"event":
            self._kind = value.strip().decode(errors="replace").lower()
        elif name == b"error":  # llama.cpp's server used to send errors so
            self._kind = "error"
            self._add(value)
        elif name not in (b"", b"id", b"retry") and len(self.strange) < SHOWN:
            self.strange += line[:SHOWN] + b"\n"
        return found

    def _more(self, line: bytes) -> list[Event]:
        """A line of JSON without `data`: one event per line, or one over many lines."""
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
        """The finished event, if it has data. An event with a name only gives it to the next one, as some servers
        intend.
        """
        if not self._data:
            return []
        event = Event(b"\n".join(self._data), self._kind)
        self._data, self._size, self._tries, self._kind, self._bare = [], 0, 0, "", False
        return [event]
