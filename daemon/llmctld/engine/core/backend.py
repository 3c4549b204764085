"""The interface between the loop and a model: it opens requests, decodes chunks and names its tokens.

It says nothing about the library, the file or the machine behind it.
"""

from typing import Protocol

from llmctld.engine.core.draft_model import DraftModel
from llmctld.engine.errors import Refusal
from llmctld.engine.messages import Loaded, Scored, Submit
from llmctld.engine.prompt.prompt import Prompt
from llmctld.engine.streams.checkpoints import Window
from llmctld.engine.streams.sequence import Chunk


class TextModel(Protocol):
    """A loaded model, used by one thread. Streams are numbered from 0; positions in a stream start at 0."""

    @property
    def loaded(self) -> Loaded:
        """What the hub is told about the model."""

    @property
    def streams(self) -> int:
        """Number of streams: for running sequences, and for retained prefixes."""

    @property
    def stream_bytes(self) -> int:
        """Bytes moved by a stream copy."""

    @property
    def reuses(self) -> bool:
        """Whether streams can be copied and cut."""

    @property
    def window(self) -> Window:
        """How far streams and saved states can be cut."""

    @property
    def mixes(self) -> bool:
        """Whether one step with several prompts and generating sequences costs less than separate steps."""

    @property
    def drafts(self) -> bool:
        """Whether chunks may carry drafts: rejected tokens can be removed, and speculation is on."""

    @property
    def draft_model(self) -> DraftModel | None:
        """A second model to ask for drafts, or None."""

    def encode(self, submit: Submit) -> Prompt:
        """Render the template and tokenise. Raises Refusal."""

    def open(self, submit: Submit, prompt: Prompt) -> None:
        """Prepare sampling for this request, until `close`. Raises Refusal, and then nothing is open."""

    def close(self, id: int) -> list[Scored] | None:
        """Release what `open` prepared. Returns the log-probabilities if they were asked for."""

    def decode(self, chunks: list[Chunk]) -> list[list[int] | Refusal]:
        """Compute the chunks (in ascending stream order) and sample after each that `samples`.

        The list is empty for a chunk that does not sample, and for a model that is not ready: that chunk comes again. A Refusal
        ends that request only. Each accepted draft token is followed by one more token; the stream then holds all tokens but the
        last one sampled.
        """

    def cut(self, stream: int, keep: int) -> bool:
        """Cut the stream to its first `keep` tokens. False if they are not all there: then the stream is empty."""

    def least(self, stream: int) -> int:
        """Smallest non-empty length to which the stream can be cut now."""

    def copy(self, source: int, target: int) -> None:
        """Copy a stream. Called only if the model `reuses`."""

    def save(self, stream: int) -> bytes | memoryview:
        """State of a stream; empty if there is none. Called only if the model `reuses`."""

    def restore(self, stream: int, state: bytes | memoryview) -> int:
        """Load a state that `save` returned. Returns the number of tokens in the stream."""

    def piece(self, token: int) -> bytes:
        """Bytes of a token as shown to a reader; may be part of a character."""

    def is_end(self, token: int) -> bool:
        """Whether this token ends the answer."""


class WithoutReuse:
    """The streams of a model that `reuses` nothing: they can only be emptied. `copy`, `save` and `restore` are never called."""

    def cut(self, stream: int, keep: int) -> bool:
        return keep == 0

    def least(self, stream: int) -> int:
        return 0

    def copy(self, source: int, target: int) -> None:
        raise NotImplementedError

    def save(self, stream: int) -> bytes:
        return b""

    def restore(self, stream: int, state: bytes | memoryview) -> int:
        return 0


def room(prompt: list[int], context: int, max_tokens: int) -> int:
    """Number of tokens that may be generated: `max_tokens`, or what the context leaves. Raises Refusal if none is left."""
    if len(prompt) >= context:
        message = f"the prompt has {len(prompt)} tokens, but the model's context is {context}"
        raise Refusal("context_overflow", message, "Shorten the prompt, or give the model a larger `context`.")
    if max_tokens < 1:
        raise Refusal("invalid_request", f"max_tokens is {max_tokens}, but must be at least 1")
    return min(max_tokens, context - len(prompt))
