"""The messages between the hub and one engine process, and their framing; private to one version of llmctl.

A frame on the socket pair is a length of four bytes (big endian) and that many bytes of msgpack. The hub starts the engine, so
both sides have the same version. An engine ends when it is told to (Close) or cannot load its model (LoadFailed), and
at once when the stream ends: its hub is gone.
"""

import struct
from typing import Any

import msgspec

from llmctl.wire import ChatMessage as ChatMessage
from llmctl.wire import Flaw as Flaw
from llmctl.wire import Sampling

LENGTH = struct.Struct(">I")


class Load(msgspec.Struct, tag="load", kw_only=True):
    """The first frame: the model to load. `memory_bytes`: the limit for weights, KV memory and compute buffers together."""

    name: str
    backend: str
    """"llama.cpp", "transformers", "sentence-transformers" or "echo"."""
    kind: str = "text"
    """"text" or "embedding"."""
    path: str
    context: int | None = None
    slots: int = 4
    retained: int = 0
    """Streams that keep prefixes of ended requests."""
    threads: int
    fewer_threads: bool = False
    """Whether a step may use fewer while other programs use the processors."""
    gpu_layers: int = -1
    """-1: as many as fit."""
    device: str = "auto"
    """"auto", "cpu", or a kind of GPU, with its number where there are several: "cuda:1"."""
    tensor_split: list[float] = []
    """The share of each GPU; empty: the library decides."""
    gpu_memory_bytes: int | None = None
    """Most memory of each GPU that all processes together may use; None: 90 % of it."""
    kv_type: str = "f16"
    flash_attention: bool | None = None
    """None: the library decides."""
    batch: int = 512
    rung: str = "as it is"
    """How much of the library may be used: a name of rungs.LADDER."""
    speculation: str = "off"
    """"ngram" or "off"."""
    pooling: str | None = None
    """Of an embedding model: "mean", "cls" or "last"; None: as its file says."""
    normalize: bool | None = None
    """Whether vectors are scaled to length 1; None: as a folder says; yes for a GGUF file, which does not say."""
    prompts: dict[str, str] = {}
    """Name -> text put before each input; added to those of the folder."""
    draft: str = ""
    """File of the draft model; empty: none."""
    dtype: str = "auto"
    """Of a transformers folder: "float32", "bfloat16", "float16"; auto: float32 on a CPU, elsewhere as the folder says."""
    quantization: str | None = None
    """Of a transformers folder: "int8", "nf4" or none."""
    trust: bool = False
    """Whether code in the folder may run, and its pickles may be read."""
    template: str = ""
    """A chat template in place of the model's own; empty: the model's."""
    template_options: dict[str, Any] = {}
    """Further variables of the template."""
    speaks: bool = True
    """Whether it receives messages; a draft model does not."""
    memory_bytes: int
    identity: str = ""
    """Of the model's file: a saved state of another file is never used."""
    saved_folder: str = ""
    """Folder for saved states of sequences; empty: none are saved."""
    saved_memory_bytes: int = 0
    saved_disk_bytes: int = 0
    load_ms: float = 0.0
    takes_bytes: int = 0
    first_ms: float = 0.0
    token_ms: float = 0.0
    fail: str | None = None


class Adapter(msgspec.Struct, frozen=True, array_like=True):
    """A LoRA adapter: its file, its scale, and an identity that changes with the file."""

    path: str
    scale: float
    identity: str = ""


class Overflow(msgspec.Struct):
    """What to cut from the last user message when the prompt is too long.

    `part`: "head", "middle" or "tail". `within`: ranges of its characters (from, to), in the order in which they are tried.
    """

    part: str
    within: list[tuple[int, int]]


class Submit(Sampling, tag="submit", kw_only=True):
    """One request: `messages` or `tokens`. `raw`: the contents as they stand, without a chat template.

    A sampling field that is None takes the default of the model's file, else that of `answer.sampling.Defaults`.
    """

    id: int
    messages: list[ChatMessage] = []
    tokens: list[int] | None = None
    raw: bool = False
    max_tokens: int
    ignore_eos: bool = False
    streams: bool = True
    """Whether to send each piece at once; else pieces are joined and sent now and then."""
    user: str = ""
    priority: int = 1
    """0 high, 1 normal, 2 batch."""
    adapters: tuple[Adapter, ...] = ()
    """Sorted, so that equal sets compare equal."""
    repro: bool = False
    """Computed alone, and without reuse of earlier computation."""
    schema: str | None = None
    """JSON; the answer satisfies it."""
    grammar: str | None = None
    """GBNF; not together with a schema."""
    think: str | None = None
    """"on", "off", "low", "medium" or "high"; None: the template's own default."""
    overflow: Overflow | None = None
    """None: refuse a prompt that is too long."""


class Texts(msgspec.Struct, tag="texts", kw_only=True):
    """Texts to embed, each alone. `prompt`: the name of the text put before each; None: the model's default."""

    id: int
    texts: list[str]
    prompt: str | None = None


class Drop(msgspec.Struct, tag="drop"):
    """Cancel request `id`. Unless it has ended, the reply is its Finished with reason "cancelled" (for texts: a Refused)."""

    id: int


class Move(msgspec.Struct, tag="move"):
    """Request `id` belongs to `user` from now on, with `priority`. Nothing answers it."""

    id: int
    user: str
    priority: int


class Recall(msgspec.Struct, tag="recall"):
    """Give back the requests that have not started: each is answered by a Recalled."""


class Close(msgspec.Struct, tag="close"):
    """Save the states worth keeping, then end. The end of the stream ends the process at once."""


Command = Load | Submit | Texts | Drop | Move | Recall | Close


class Loaded(msgspec.Struct, tag="loaded", kw_only=True):
    """The model is ready. `notices`: settings that were reduced to fit; `base`: the file has no chat template."""

    backend: str
    context: int
    slots: int
    retained: int = 0
    memory_bytes: int
    """Weights plus KV plus compute buffers, as the library reports them; 0 for echo."""
    gpu_bytes: int = 0
    """The part of it on GPUs."""
    gpu_layers: int = 0
    layers: int = 0
    """All layers, the output layer included; 0 where the library does not split by layers."""
    devices: list[str] = []
    """Devices that hold them, in the library's names; GPUs first."""
    base: bool = False
    system_later: bool = True
    """Whether the chat template takes a system message after turns, in its place."""
    dimension: int = 0
    """Length of a vector; 0: the model generates text."""
    notices: list[str] = []

    @property
    def gpu_share(self) -> float | None:
        """Share of `memory_bytes` on GPUs, 0 to 1; None without devices."""
        return round(self.gpu_bytes / max(self.memory_bytes, 1), 4) if self.devices else None


class LoadFailed(msgspec.Struct, tag="load_failed"):
    """The model could not be loaded; the process ends. `hint` may be empty. `unproven`: another rung may work."""

    message: str
    hint: str = ""
    unproven: bool = False


class Piece(msgspec.Struct, tag="piece"):
    """New text of request `id`: whole characters, never a part of a stop string."""

    id: int
    text: str = ""
    reasoning: str = ""
    moved: bool = False
    """The text before this piece turns out to be reasoning: the endpoint leaves out the opening tag."""


class Scored(msgspec.Struct):
    """A token as text and its natural log-probability; `top` holds (text, log-probability) of the likeliest, best first."""

    token: str
    logprob: float
    top: list[tuple[str, float]]


class Finished(msgspec.Struct, tag="finished", kw_only=True):
    """The end of request `id`, after its last Piece. `reason` is stop, length or cancelled.

    `logprobs`: one for each token sampled, if requested. `drafted`, `accepted`: tokens of speculation, None
    where it was off.
    """

    id: int
    reason: str
    prompt_tokens: int
    cached_tokens: int = 0
    completion_tokens: int
    drafted: int | None = None
    accepted: int | None = None
    queue_ms: float
    prefill_ms: float
    decode_ms: float
    batched: bool = False
    """Whether other requests, or their states in memory, may have changed its rounding."""
    logprobs: list[Scored] | None = None


class Embedded(msgspec.Struct, tag="embedded", kw_only=True):
    """The end of texts `id`. `vectors`: (texts, dimension) float32, little endian, row by row; a flawed text's row is NaN."""

    id: int
    vectors: bytes
    tokens: int
    flaws: list[Flaw] = []


class Shortened(msgspec.Struct):
    """What was cut from the last user message: its characters from `start` to `end`, replaced by `glue`.

    `tokens`: how many the cut saved, of the prompt's `of`.
    """

    start: int
    end: int
    glue: str
    tokens: int
    of: int


class Remark(msgspec.Struct, tag="remark"):
    """A notice for the user of request `id`: a text, or the cut that was made."""

    id: int
    text: str
    shortened: Shortened | None = None


class Recalled(msgspec.Struct, tag="recalled"):
    """Request `id` was not started, and will not be."""

    id: int


class Refused(msgspec.Struct, tag="refused"):
    """Request `id` cannot be computed: `code` is an error code of llmctl.errors."""

    id: int
    code: str
    message: str
    hint: str = ""


Event = Piece | Remark | Finished | Embedded | Recalled | Refused


class Step(msgspec.Struct, tag="step", kw_only=True):
    """The events of one step of the engine, in one frame; also sent when `busy` changes without a token.

    `busy`: sequences that hold a slot after this step, or texts being embedded. `tokens_per_second`: all sequences, over
    the last seconds.
    """

    events: list[Event]
    busy: int
    waiting: int
    tokens_per_second: float


Report = Loaded | LoadFailed | Step

_encoder = msgspec.msgpack.Encoder()
decode_command = msgspec.msgpack.Decoder(Command).decode
decode_report = msgspec.msgpack.Decoder(Report).decode


def frame(message: Command | Report) -> bytes:
    """The message as a frame: its length, then its bytes."""
    body = _encoder.encode(message)
    return LENGTH.pack(len(body)) + body
