"""Messages between an engine and its template process.

A frame is a length of four bytes and that many bytes of msgpack, as between hub and engine.
"""

from typing import Any

import msgspec

CPU_S = 1.0
"""Processor seconds for parsing or rendering; the slowest known template takes 0.3 ms. Long texts get one more second per
BYTES_PER_S: 16 MB need a tenth of that."""
BYTES_PER_S = 16 * 2**20
PATIENCE = 10
"""Wall-clock limit as a multiple of CPU_S, for a very busy machine."""


class ParseTemplate(msgspec.Struct, tag="open"):
    """Sent once, first: the template. `known`: variables for every rendering. Reply: Opened."""

    source: str
    known: dict[str, Any]


class Render(msgspec.Struct, tag="render"):
    """Reply: Rendered or Failed."""

    messages: list[dict[str, Any]]
    variables: dict[str, Any]


class Opened(msgspec.Struct, tag="opened"):
    """`names`: all variables it uses. `broken`: why it cannot be parsed; empty if it can."""

    names: list[str] = []
    broken: str = ""


class TemplateText(msgspec.Struct, tag="rendered"):
    text: str


class TemplateFailed(msgspec.Struct, tag="failed"):
    """The template's own message."""

    message: str


decode_order = msgspec.msgpack.Decoder(ParseTemplate | Render).decode
decode_word = msgspec.msgpack.Decoder(Opened | TemplateText | TemplateFailed).decode
encode = msgspec.msgpack.Encoder().encode
