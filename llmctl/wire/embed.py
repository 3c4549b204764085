"""Texts and their vectors: the two messages of `llmctl embed`."""

from typing import ClassVar

import msgspec

from llmctl.wire.answer import Cost
from llmctl.wire.message import Plain, Result

TEXTS = 1024
"""Most texts in one `embed` request; a client that has more sends several."""


class Embed(Plain, kw_only=True, tag="embed"):
    """Turns texts into vectors. -> `embeddings`

    At most 1,024 texts; a client with more texts sends several requests, a few of them at the same time.
    """

    is_work: ClassVar[bool] = True
    delays_background: ClassVar[bool] = True

    texts: list[str]
    """1 to 1024 texts; an empty one gets a flaw"""
    model: str | None = None
    """name or alias; null: the first embedding model added, else all-MiniLM-L6-v2"""
    prompt: str | None = None
    """name of a prompt of the model, which is put before each text"""
    user: str = ""
    """label of the request"""

    @property
    def subject(self) -> str | None:
        return self.model


class Flaw(msgspec.Struct):
    """Why a text has no vector."""

    index: int
    """index of the text in this request"""
    code: str
    """error code"""
    message: str
    """what happened"""
    hint: str = ""
    """what to do next"""


class Embeddings(Result, kw_only=True, tag="embeddings", omit_defaults=False):
    """A vector for each text, in the same order. A text with a flaw has a vector of NaN."""

    model: str
    """name of the model"""
    dimension: int
    """numbers in one vector"""
    vectors: bytes
    """float32, little endian, one vector after another"""
    tokens: int
    """tokens that went through the model"""
    seconds: float = 0.0
    """from handing the texts to the model to their vectors"""
    cost: Cost | None = None
    """what the vectors cost"""
    flaws: list[Flaw] = []
    """texts without a vector, by index"""
