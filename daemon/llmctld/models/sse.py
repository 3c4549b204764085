"""Server-sent events out of bytes, as they arrive in pieces of any size (html.spec.whatwg.org, 9.2.6).

It knows fields and lines, and not what an event's data means. Only `data` matters here: names, ids and comments are passed over.
"""

MOST = 8 * 2**20
"""Bytes of one event: beyond it something else than a model is talking."""


class TooLong(ValueError):
    """An event, or a line, does not end."""


class Reader:
    """Feed it bytes; each call returns the data of the events that are complete now."""

    def __init__(self, most: int = MOST) -> None:
        self._most, self._rest, self._seen = most, bytearray(), 0
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[bytes]:
        """Raises TooLong."""
        self._rest += piece
        found, start = [], 0
        while (end := self._rest.find(b"\n", max(start, self._seen))) >= 0:
            event = self._line(bytes(self._rest[start:end]).removesuffix(b"\r"))
            start = end + 1
            if event is not None:
                found.append(event)
        del self._rest[:start]
        self._seen = len(self._rest)
        if self._seen + self._size > self._most:
            raise TooLong(f"an event of more than {self._most} bytes")
        return found

    def end(self) -> list[bytes]:
        """What was complete but for the empty line that should have followed."""
        last = self._line(bytes(self._rest).removesuffix(b"\r"))
        event = last if last is not None else self._line(b"")
        self._rest, self._seen = bytearray(), 0
        return [] if event is None else [event]

    def _line(self, line: bytes) -> bytes | None:
        """The data of the event that this line ends."""
        if line:
            field, _, value = line.partition(b":")
            if field == b"data":
                self._data.append(value.removeprefix(b" "))
                self._size += len(value)
            return None
        event = b"\n".join(self._data) if self._data else None
        self._data, self._size = [], 0
        return event
