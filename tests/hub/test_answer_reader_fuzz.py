"""Thousands of mutations of a valid stream, from fixed seeds: each gives the text or the endpoint's error, nothing else."""

import copy
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from llmctld.models.remote.answer_reader import AnswerReader
from llmctld.models.remote.http.breaker import AttemptFailed
from llmctld.models.remote.http.sse import EventReader

from llmctl.errors import LlmctlError

TEXT, THOUGHT, WORDS = 'Grüße,\n"日本" 🎉 {data: 1}\r\n\nevent: [DONE]', "hm, 🎈 six", "the engine ran out of memory"
PIECES = ["Grüße,", '\n"日本"', " 🎉", " {data: 1}\r\n", "\nevent: [DONE]"]
SEEDS = range(1500)


@dataclass
class Stream:
    """`events` are objects to be encoded, or raw lines as bytes."""

    events: list[Any]
    line_end: bytes = b"\n"
    between: bytes = b"\n"
    prefix: bytes = b"data: "
    head: bytes = b""
    ascii: bool = False
    indent: int | None = None
    done: bool = True
    failed: bool = False
    names: list[str] = field(default_factory=list)

    def data(self) -> bytes:
        body = self.head + b"".join(self._event(each) for each in self.events)
        body += b"data: [DONE]\n\n" if self.done else b""
        return body.replace(b"\n", self.line_end)

    def _event(self, event: Any) -> bytes:
        if isinstance(event, bytes):
            return event
        text = json.dumps(event, ensure_ascii=self.ascii, indent=self.indent).encode("utf-8", "surrogatepass")
        return b"".join(self.prefix + line + b"\n" for line in text.split(b"\n")) + self.between


def a_stream() -> Stream:
    thoughts = [{"reasoning_content": thought} for thought in ("hm, ", "🎈 six")]
    deltas = [{"role": "assistant", "content": ""}, *thoughts, *({"content": piece} for piece in PIECES)]
    events = [{"choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    return Stream([*events, last, {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7}}])


def choices(stream: Stream) -> list[dict[str, Any]]:
    found = [each["choices"] for each in stream.events if isinstance(each, dict) and each.get("choices")]
    return [each[0] for each in found if each[0]]


def insert(stream: Stream, dice: random.Random, *events: Any) -> None:
    stream.events.insert(dice.randint(0, len(stream.events)), copy.deepcopy(dice.choice(events)))


# ---- mutations without effect ---------------------------------------------------------------------------------------

KEEPALIVES: list[Any] = [
    b": ping\n\n", b":\n", b"event: ping\ndata: {}\n\n", b"event: heartbeat\ndata: beat\n\n", b"data: null\n\n", b"data:\n\n",
    b"retry: 100\n\n", b"id: 7\n", b"\n\n", b"event: ping\n\n", {"choices": None}, {"choices": []}, {"type": "ping"},
    {"choices": [None], "usage": None}, {"error": None, "choices": []}, {"choices": [{"delta": None}]}, {},
    {"choices": [{"index": 1, "delta": {"content": "another answer"}}]}, {"choices": [], "prompt_filter_results": [{}]},
]  # fmt: skip


def line_ends(stream: Stream, dice: random.Random) -> None:
    stream.line_end = dice.choice([b"\r\n", b"\r"])


def mark(stream: Stream, dice: random.Random) -> None:
    stream.head = b"\xef\xbb\xbf"


def keepalive(stream: Stream, dice: random.Random) -> None:
    insert(stream, dice, *KEEPALIVES)


def prefixes(stream: Stream, dice: random.Random) -> None:
    stream.prefix = (
        dice.choice([b"data:", b"event: message\ndata: ", b"id: 1\ndata: "]) if not stream.indent else b"data:"
    )


def many_lines(stream: Stream, dice: random.Random) -> None:
    stream.indent, stream.prefix = 1, b"data: "


def no_empty_lines(stream: Stream, dice: random.Random) -> None:
    stream.between = b"" if stream.indent is None else b"\n"


def escapes(stream: Stream, dice: random.Random) -> None:
    stream.ascii = True


def halves(stream: Stream, dice: random.Random) -> None:
    """Splits texts between UTF-16 units, as JavaScript does."""
    stream.ascii = True
    for place, event in enumerate(stream.events):
        found = choices(Stream([event]))
        text = (found[0].get("delta") or {}).get("content") if found else None
        if not isinstance(text, str) or not text:
            continue
        units = text.encode("utf-16-le")
        cut = 2 * dice.randint(0, len(units) // 2)
        parts = [part.decode("utf-16-le", "surrogatepass") for part in (units[:cut], units[cut:])]
        pair = [copy.deepcopy(event) for _ in parts]
        for one, part in zip(pair, parts, strict=True):
            one["choices"][0]["delta"]["content"] = part
        stream.events[place : place + 1] = pair
        return


def odd_types(stream: Stream, dice: random.Random) -> None:
    for choice in choices(stream):
        choice["index"] = "0" if choice.get("index") == 0 else choice.get("index")
        choice["logprobs"] = dice.choice([None, {}, [], {"content": None}, {"tokens": "x"}])
    stream.events.append(
        {"choices": None, "usage": {"prompt_tokens": "5", "completion_tokens": 7.0, "total_tokens": None}}
    )


def nulls(stream: Stream, dice: random.Random) -> None:
    for choice in choices(stream):
        if isinstance(choice.get("delta"), dict):
            for name in ("content", "reasoning", "tool_calls", "refusal", "function_call", "role", "audio"):
                choice["delta"].setdefault(name, None)
        choice.setdefault("stop_reason", None)


def unknown(stream: Stream, dice: random.Random) -> None:
    for event in stream.events:
        if isinstance(event, dict):
            event |= {
                "id": 7,
                "object": "chat.completion.chunk",
                "created": "now",
                "obfuscation": "xyz",
                "message": None,
            }


def parts(stream: Stream, dice: random.Random) -> None:
    for choice in choices(stream):
        text = (choice.get("delta") or {}).get("content")
        if isinstance(text, str):
            part = dice.choice([{"type": "text", "text": text}, {"type": "output_text", "text": {"value": text}}, text])
            choice["delta"]["content"] = [{"type": "reference", "reference_ids": [1]}, part]


def thinking(stream: Stream, dice: random.Random) -> None:
    for choice in choices(stream):
        delta = choice.get("delta") or {}
        thought = delta.pop("reasoning_content", None)
        if thought is not None and not delta.get("content"):
            inner = dice.choice([thought, [{"type": "text", "text": thought}]])
            delta |= dice.choice([{"reasoning": thought}, {"content": [{"type": "thinking", "thinking": inner}]}])
        elif thought is not None:
            delta["reasoning"] = thought


def messages(stream: Stream, dice: random.Random) -> None:
    for choice in choices(stream):
        if "delta" in choice:
            choice["message"] = choice.pop("delta", None)


def lists(stream: Stream, dice: random.Random) -> None:
    stream.events = [[event] if isinstance(event, dict) else event for event in stream.events]


def no_done(stream: Stream, dice: random.Random) -> None:
    stream.done = False


def reasons(stream: Stream, dice: random.Random) -> None:
    word = dice.choice(["stop", "EOS", "end_turn", "eos_token"])
    for choice in choices(stream):
        choice["finish_reason"] = word if choice.get("finish_reason") == "stop" else dice.choice([None, "", "null"])


def bare(stream: Stream, dice: random.Random) -> None:
    """Lines of JSON without `data:`."""
    stream.prefix, stream.between, stream.indent = b"", dice.choice([b"", b"\n"]), None


def one_object(stream: Stream, dice: random.Random) -> None:
    """A single object, although a stream was requested."""
    message = {"role": "assistant", "content": TEXT, "reasoning_content": THOUGHT}
    whole = {
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"completion_tokens": "7"},
    }
    stream.events, stream.done, stream.prefix = [whole], False, b""
    stream.indent, stream.between = dice.choice([None, 2]), dice.choice([b"", b"\n"])


HARMLESS: list[Callable[[Stream, random.Random], None]] = [
    line_ends, mark, keepalive, prefixes, many_lines, no_empty_lines, escapes, halves, odd_types, nulls, unknown, parts, thinking,
    messages, no_done, reasons, bare, one_object,
]  # fmt: skip
"""Whatever of these comes together, the answer is the same. (`lists` comes last: the others look into the events.)"""

# ---- mutations that fail --------------------------------------------------------------------------------------------

FAILURES: list[Any] = [
    {"object": "error", "message": WORDS, "type": "InternalServerError", "code": 500},
    {"error": {"message": WORDS, "code": "500"}}, {"error": WORDS}, {"detail": WORDS},
    {"choices": None, "error_type": "X", "error_message": WORDS}, {"error": {"message": WORDS}, "choices": []},
    {"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error", "error": {"message": WORDS}}]},
    b"event: error\ndata: " + json.dumps({"message": WORDS}).encode() + b"\n\n",
    b"event: error\ndata: " + WORDS.encode() + b"\n\n", b"error: " + json.dumps({"message": WORDS}).encode() + b"\n\n",
    b"event: error\n\ndata: " + json.dumps({"code": 500, "message": WORDS}).encode() + b"\n\n",
    json.dumps({"error": {"message": WORDS}}).encode() + b"\n",
]  # fmt: skip


def mutated(seed: int) -> Stream:
    dice = random.Random(seed)
    stream = a_stream()
    for mutate in dice.sample(HARMLESS, dice.randint(1, 5)):
        mutate(stream, dice)
        stream.names.append(mutate.__name__)
    if dice.random() < 0.1 and stream.prefix and stream.indent is None:
        lists(stream, dice)
    if dice.random() < 0.3:
        end = next((place for place, each in enumerate(stream.events) if _ends(each)), len(stream.events))
        failure = dice.choice(FAILURES)
        stream.events.insert(dice.randint(0, end), failure)
        stream.names.append(str(failure))
        stream.failed = True
    return stream


def _ends(event: Any) -> bool:
    return '"finish_reason": "' in json.dumps(event) if not isinstance(event, bytes) else False


def read(data: bytes, size: int) -> tuple[str, str]:
    """Reads an answer in pieces of `size` bytes, as a worker does."""
    reader, reading = EventReader(), AnswerReader("it", False)
    text, thought = "", ""
    for start in range(0, len(data), size):
        for event in reader.feed(data[start : start + size]):
            piece = reading.feed(event)
            text, thought = text + piece.text, thought + piece.reasoning
    for event in reader.end():
        piece = reading.feed(event)
        text, thought = text + piece.text, thought + piece.reasoning
    last = reading.end()
    text, thought = text + last.text, thought + last.reasoning
    (text + thought).encode()  # text that cannot be encoded could be neither sent nor stored
    return text, thought


def outcome(data: bytes, size: int) -> tuple[str, str] | str:
    try:
        return read(data, size)
    except AttemptFailed as trouble:
        return trouble.error.message
    except LlmctlError as error:
        return error.message


def test_mutated_stream_gives_its_text_or_the_endpoints_error() -> None:
    for seed in SEEDS:
        stream = mutated(seed)
        data = stream.data()
        found = outcome(data, len(data))
        where = (seed, stream.names, data)
        if stream.failed:
            assert isinstance(found, str), where
            assert WORDS in found, where
        else:
            assert found == (TEXT, THOUGHT), where
        if seed % 20 == 0:
            assert outcome(data, 1) == found, where
        assert outcome(data, 1 + seed % 7) == found, where


def test_truncated_stream_is_not_an_answer() -> None:
    """Cut anywhere, even within a character or line end, before the final event is complete."""
    for seed in range(20):
        stream = mutated(seed)
        data = stream.data()
        if stream.failed or b"[DONE]\r" in data:
            continue
        wholes = 0
        for cut in range(len(data)):
            found = outcome(data[:cut], 4096)
            wholes += found == (TEXT, THOUGHT)
            assert isinstance(found, str) or found == (TEXT, THOUGHT), (seed, cut, stream.names, data[:cut], found)
        assert wholes, "the answer is complete without what follows the final event"


@pytest.mark.parametrize("changes", [1, 4, 30])
def test_random_byte_changes_raise_no_unexpected_error(changes: int) -> None:
    for seed in range(500):
        dice = random.Random(seed)
        data = bytearray(mutated(seed).data())
        for _ in range(changes):
            place = dice.randrange(len(data))
            kind = dice.randrange(3)
            data[place : place + (kind > 0)] = bytes([dice.choice(b'\x00{}[]",:\\nu1\r\n\xff\xc3 ')]) * (kind < 2)
        outcome(bytes(data), 1 + seed % 100)
