"""What an engine and the process that renders its template say to each other: orders one way, words the other.

A frame is a length of four bytes and that much msgpack, as between hub and engine.
"""

from typing import Any

import msgspec

CPU_S = 1.0
"""Processor time of one reading, or one rendering: the slowest of the templates that are known takes 0.3 ms. A long text has one
more for each BYTES_PER_S: 16 MB take a tenth of that."""
BYTES_PER_S = 16 * 2**20
PATIENCE = 10
"""Times as long by the clock: on a machine that is busy beyond measure too, others wait no longer than that."""


class Open(msgspec.Struct, tag="open"):
    """The template, once, before anything else; `known`: what it may name in every rendering. -> Opened"""

    source: str
    known: dict[str, Any]


class Render(msgspec.Struct, tag="render"):
    """-> Rendered or Failed"""

    messages: list[dict[str, Any]]
    variables: dict[str, Any]


class Opened(msgspec.Struct, tag="opened"):
    """`names`: all that it speaks of; `broken`: why it cannot be read, empty where it can."""

    names: list[str] = []
    broken: str = ""


class Rendered(msgspec.Struct, tag="rendered"):
    text: str


class Failed(msgspec.Struct, tag="failed"):
    """In the template's own words."""

    message: str


decode_order = msgspec.msgpack.Decoder(Open | Render).decode
decode_word = msgspec.msgpack.Decoder(Opened | Rendered | Failed).decode
encode = msgspec.msgpack.Encoder().encode
