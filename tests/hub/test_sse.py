"""Server-sent events: parsing gives the same events however the bytes are split."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmctld.models.remote.http.sse import WHOLE_CHECKS, Event, EventReader, TooLong

LINES = st.sampled_from(
    ["data: one", "data:two", "data", "data: ünï", ": a comment", "event: x", "id: 7", "retry: 1", ""]
)


def expected(lines: list[str]) -> list[bytes]:
    """The standard's algorithm, line by line; an event without a final empty line counts too."""
    found: list[str] = []
    data: list[str] = []
    for line in [*lines, ""]:
        if not line:
            found += ["\n".join(data)] if data else []
            data = []
        elif line.partition(":")[0] == "data":
            data.append(line.partition(":")[2].removeprefix(" "))
    return [text.encode() for text in found]


def read(*pieces: bytes, most: int = 2**20) -> list[bytes]:
    reader = EventReader(most)
    events = [event for piece in pieces for event in reader.feed(piece)]
    return [event.data for event in events + reader.end()]


@given(
    lines=st.lists(LINES, max_size=12),
    cuts=st.lists(st.integers(0, 200), max_size=6),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_events_do_not_depend_on_how_the_bytes_are_split(lines: list[str], cuts: list[int], end: str) -> None:
    text = "".join(line + end for line in lines).encode()
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    assert read(*(text[start:stop] for start, stop in itertools.pairwise(places))) == expected(lines)


def test_an_event_without_a_final_newline_is_read() -> None:
    reader = EventReader()
    assert reader.feed(b"data: a\n\ndata: b") == [Event(b"a")]
    assert reader.end() == [Event(b"b")]
    assert reader.end() == []


@pytest.mark.parametrize("rest", [b'data: {"a": "caf\xc3', b'data: {"a": 1', b"data: [DO", b"dat", b"data: [1,\n"])
def test_an_incomplete_event_is_dropped(rest: bytes) -> None:
    assert read(b"data: 1\n\n", rest) == [b"1"]


@pytest.mark.parametrize(
    ("text", "events"),
    [
        (b'data: {"a": 1}\ndata: {"b": 2}\ndata: [DONE]\n', [b'{"a": 1}', b'{"b": 2}', b"[DONE]"]),
        (b'data: {"a":\ndata: 1}\n\n', [b'{"a":\n1}']),
        (b'{"a": 1}\n{"b": 2}\n', [b'{"a": 1}', b'{"b": 2}']),
        (b'{\n  "a": 1,\n\n  "b": {\n  }\n}', [b'{\n  "a": 1,\n\n  "b": {\n  }\n}']),
        (b'data: 1\n\n{"error": "x"}\n', [b"1", b'{"error": "x"}']),
        (b'{"a": \ndata: {"b": 2}\n\n', [b'{"a": ', b'{"b": 2}']),
        (b"[DONE]\n", [b"[DONE]"]),
        (b"\xef\xbb\xbfdata: 1\n\n\xef\xbb\xbfdata: 2\n\n", [b"1", b"2"]),
        (b" data : 1\n\n", [b" 1".strip()]),
        (b"\n\n: x\n\nretry: 7\n\ndata: 1\n\n", [b"1"]),
    ],
)
def test_incomplete_syntax_of_real_servers_is_accepted(text: bytes, events: list[bytes]) -> None:
    assert read(text) == events
    assert read(*(text[place : place + 1] for place in range(len(text)))) == events


@pytest.mark.parametrize(
    ("text", "event"),
    [
        (b"event: error\ndata: x\n\n", Event(b"x", "error")),
        (b"event: error\n\ndata: x\n\n", Event(b"x", "error")),
        (b"event:Error\n\n", Event(b"", "error")),
        (b"error: x\n\n", Event(b"x", "error")),
        (b"event: ping\ndata: \n\n", Event(b"", "ping")),
    ],
)
def test_an_event_keeps_the_name_given_by_the_server(text: bytes, event: Event) -> None:
    reader = EventReader()
    assert reader.feed(text) + reader.end() == [event]


def test_lines_outside_events_are_kept_for_the_error_message() -> None:
    reader = EventReader()
    assert reader.feed(b": fine\nid: 1\n<html>\n<title>Gone") + reader.end() == []
    assert reader.strange == b"<html>\n<title>Gone\n"


@pytest.mark.parametrize("line", [b"}\n", b"data: {\n", b"x\n"])
def test_many_lines_of_one_event_are_parsed_in_linear_time(line: bytes) -> None:
    """Each line is parsed a bounded number of times: otherwise an incomplete event of 1 MB would take minutes."""
    looks = 0
    reader = EventReader()
    whole = reader._whole

    def count() -> bool:
        nonlocal looks
        looks += reader._tries < WHOLE_CHECKS
        return whole()

    reader._whole = count  # type: ignore[method-assign]
    reader.feed(b"{\n" + line * 2**16)
    assert looks <= 2 * WHOLE_CHECKS


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 30, b"data: xxxxx\n" * 8, b"{" * 30, b"{\n" * 20])
def test_an_event_without_end_is_an_error(piece: bytes) -> None:
    with pytest.raises(TooLong, match="24"):
        read(piece, most=24)
    assert read(b"data: xxxxx\n\n" * 50, most=24) == [b"xxxxx"] * 50, "many short ones may be long together"
