"""Events out of bytes: the same ones, however the bytes were cut."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmctld.models.sse import Reader, TooLong

LINES = st.sampled_from(
    ["data: one", "data:two", "data", "data: ünï", ": a comment", "event: x", "id: 7", "retry: 1", ""]
)


def expected(lines: list[str]) -> list[bytes]:
    """As the standard says it, line by line; what no empty line follows counts too."""
    found: list[str] = []
    data: list[str] = []
    for line in [*lines, ""]:
        if not line:
            found += ["\n".join(data)] if data else []
            data = []
        elif line.partition(":")[0] == "data":
            data.append(line.partition(":")[2].removeprefix(" "))
    return [text.encode() for text in found]


@given(
    lines=st.lists(LINES, max_size=12),
    cuts=st.lists(st.integers(0, 200), max_size=6),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_events_do_not_depend_on_how_their_bytes_come(lines: list[str], cuts: list[int], end: str) -> None:
    text = "".join(line + end for line in lines).encode()
    places = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    reader, found = Reader(), []
    for start, stop in itertools.pairwise(places):
        found += reader.feed(text[start:stop])
    assert found + reader.end() == expected(lines)


def test_an_event_without_its_last_line_end_is_read() -> None:
    reader = Reader()
    assert reader.feed(b"data: a\n\ndata: b") == [b"a"]
    assert reader.end() == [b"b"]
    assert reader.end() == []


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 30, b"data: xxxxx\n" * 8])
def test_what_does_not_end_is_given_up(piece: bytes) -> None:
    reader = Reader(most=24)
    with pytest.raises(TooLong, match="24"):
        reader.feed(piece)
    assert Reader(most=24).feed(b"data: xxxxx\n\n" * 50) == [b"xxxxx"] * 50, "many short ones may be long together"
