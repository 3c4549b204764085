"""The seam between the loop and what computes: a model that opens requests, decodes chunks and names its tokens.

It fixes the shape alone; which library, which file and which machine stand behind it is each backend's own.
"""

from collections.abc import Callable
from typing import Protocol

from llmctld.engine.core.draft_model import DraftModel
from llmctld.engine.errors import Refusal
from llmctld.engine.messages import Load, Loaded, Scored, Submit
from llmctld.engine.prompt.prompt import Prompt
from llmctld.engine.streams.checkpoints import Window
from llmctld.engine.streams.sequence import Chunk


class Model(Protocol):
    """A loaded model. One thread calls it. Streams are numbered from 0; a stream's tokens have positions from 0 on."""

    @property
    def loaded(self) -> Loaded:
        """What to tell the hub."""

    @property
    def streams(self) -> int:
        """Streams of the memory: those that run, and those that keep what was computed."""

    @property
    def stream_bytes(self) -> int:
        """What a copy of one stream moves."""

    @property
    def reuses(self) -> bool:
        """Whether streams can be copied and cut."""

    @property
    def window(self) -> Window:
        """How far streams and saved states can be cut."""

    @property
    def mixes(self) -> bool:
        """Whether a step with several prompts, and with those who generate, costs less than one of each."""

    @property
    def drafts(self) -> bool:
        """Whether chunks may have drafts: what was computed for rejected ones can be taken back, and it is wanted."""

    @property
    def draft_model(self) -> DraftModel | None:
        """What may be asked for drafts, beside what a text repeats."""

    def encode(self, submit: Submit) -> Prompt:
        """Template and tokenise; raises Refusal."""

    def open(self, submit: Submit, prompt: Prompt) -> None:
        """Prepare to sample for this request, until it is closed by its id. Raises Refusal: then nothing is open."""

    def close(self, id: int) -> list[Scored] | None:
        """Let go of what `open` prepared; returns the log-probabilities that were asked for."""

    def decode(self, chunks: list[Chunk]) -> list[list[int] | Refusal]:
        """Compute the chunks (ascending streams) and sample after each one that `samples`.

        Nothing stands for a chunk that does not sample, and for a model that is not ready: that chunk comes again. A
        Refusal ends that one request. Each token of a chunk's draft that is sampled is followed by one more; the stream
        then has all tokens but the last one sampled.
        """

    def cut(self, stream: int, keep: int) -> bool:
        """The stream has exactly its first `keep` tokens. False when they are not (all) there: then it is empty."""

    def least(self, stream: int) -> int:
        """The fewest tokens, above 0, to which the stream can be cut now."""

    def copy(self, source: int, target: int) -> None:
        """`target` holds what `source` does; called only where the model `reuses`."""

    def save(self, stream: int) -> bytes | memoryview:
        """The state of a stream, empty when there is none; called only where the model `reuses`."""

    def restore(self, stream: int, state: bytes | memoryview) -> int:
        """Set what `save` returned; the number of tokens that the stream has now."""

    def piece(self, token: int) -> bytes:
        """The bytes of a token as a reader sees them; a part of a character is possible."""

    def is_end(self, token: int) -> bool:
        """Whether the model ends its answer with this token."""


Loader = Callable[[Load], Model]


def room(prompt: list[int], context: int, max_tokens: int) -> int:
    """Tokens that may be generated: those asked for, at most what the prompt leaves. Refusal if none is left."""
    if len(prompt) >= context:
        message = f"the prompt has {len(prompt)} tokens, but the model's context is {context}"
        raise Refusal("context_overflow", message, "Shorten the prompt, or give the model a larger `context`.")
    if max_tokens < 1:
        raise Refusal("invalid_request", f"max_tokens is {max_tokens}, but must be at least 1")
    return min(max_tokens, context - len(prompt))
