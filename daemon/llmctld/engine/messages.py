"""The private dialect between the hub and one engine process: what they say to each other, and how it is framed.

A frame on the socket pair is a length of four bytes (big endian) and that many bytes of msgpack. Both sides always have the
same version: the hub starts the engine. An engine ends when it is told to (Close) or cannot load its model (LoadFailed), and
at once when the stream ends: its hub is gone.
"""

import struct
from typing import Any

import msgspec

from llmctl.wire import ChatMessage as ChatMessage
from llmctl.wire import Sampling

LENGTH = struct.Struct(">I")


class Load(msgspec.Struct, tag="load", kw_only=True):
    """The first frame: what to load. `memory_bytes`: what weights, KV memory and compute buffers may take together."""

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
    """Whether a step may have fewer, while other programs want the processors too."""
    gpu_layers: int = -1
    """-1: all that fit."""
    device: str = "auto"
    """"auto", "cpu", or a kind of GPU, with its number where there are several: "cuda:1"."""
    tensor_split: list[float] = []
    """The share of each GPU; empty: as the library thinks."""
    gpu_memory_bytes: int | None = None
    """What all processes together may hold of each GPU; None: 90 % of what it has."""
    kv_type: str = "f16"
    flash_attention: bool | None = None
    """None: where the library thinks that it pays."""
    batch: int = 512
    rung: str = "as it is"
    """How much of what the library can do may be used: a name of rungs.LADDER."""
    speculation: str = "off"
    """"ngram" or "off"."""
    pooling: str | None = None
    """Of an embedding model: "mean", "cls" or "last"; None: as its file says."""
    normalize: bool | None = None
    """Whether vectors get length 1; None: as a folder says, and yes for a GGUF file, which cannot say."""
    prompts: dict[str, str] = {}
    """Name -> what is put before a text; beside those that a folder brings."""
    draft: str = ""
    """The file of a smaller model that drafts too; empty: none."""
    dtype: str = "auto"
    """Of a transformers folder: "float32", "bfloat16", "float16"; auto: float32 on a CPU, elsewhere as the folder says."""
    quantization: str | None = None
    """Of a transformers folder: "int8", "nf4" or none."""
    trust: bool = False
    """Whether a folder's own code may run, and its pickles be read."""
    template: str = ""
    """A chat template instead of the one that the model brings; empty: that one."""
    template_options: dict[str, Any] = {}
    """What else the template may name."""
    speaks: bool = True
    """Whether it will be given messages: a draft is not."""
    memory_bytes: int
    identity: str = ""
    """Of the model's file: a saved state of another file is never used."""
    saved_folder: str = ""
    """Where states of sequences are kept; empty: nowhere."""
    saved_memory_bytes: int = 0
    saved_disk_bytes: int = 0
    load_ms: float = 0.0
    takes_bytes: int = 0
    first_ms: float = 0.0
    token_ms: float = 0.0
    fail: str | None = None


class Adapter(msgspec.Struct, frozen=True, array_like=True):
    """A LoRA adapter's file, how strongly it works, and what changes when the file does."""

    path: str
    scale: float
    identity: str = ""


class Overflow(msgspec.Struct):
    """How to make room where a prompt is too long: what is left out of the last message of the user.

    `part`: "head", "middle" or "tail". `within`: of which characters of it (from, to), the first that will do.
    """

    part: str
    within: list[tuple[int, int]]


class Submit(Sampling, tag="submit", kw_only=True):
    """One request. Either `messages` or `tokens`. `raw`: no chat template, the contents as they stand.

    A sampling field that is None takes the default of the model's file, else that of `answer.sampling.Defaults`.
    """

    id: int
    messages: list[ChatMessage] = []
    tokens: list[int] | None = None
    raw: bool = False
    max_tokens: int
    ignore_eos: bool = False
    streams: bool = True
    """Whether each piece is wanted as it comes; without it pieces are joined, and sent now and then."""
    user: str = ""
    priority: int = 1
    """0 high, 1 normal, 2 batch."""
    adapters: tuple[Adapter, ...] = ()
    """Sorted, so that equal ones are equal."""
    repro: bool = False
    """Alone, and with nothing that was computed before."""
    schema: str | None = None
    """JSON; the answer satisfies it."""
    grammar: str | None = None
    """GBNF; one of the two at most."""
    think: str | None = None
    """"on", "off", "low", "medium" or "high"; None: as the template does by itself."""
    overflow: Overflow | None = None
    """None: a prompt that is too long is refused."""


class Texts(msgspec.Struct, tag="texts", kw_only=True):
    """Texts to be embedded, each alone; `prompt` names what is put before each, None: what the model does by itself."""

    id: int
    texts: list[str]
    prompt: str | None = None


class Drop(msgspec.Struct, tag="drop"):
    """Cancel request `id`: answered by its Finished with reason "cancelled" (texts: by a Refused), unless it had ended."""

    id: int


class Recall(msgspec.Struct, tag="recall"):
    """Give back the requests that have not been begun: each is answered by a Recalled."""


class Close(msgspec.Struct, tag="close"):
    """End when the states that are worth it are saved. The end of the stream ends the process at once."""


Command = Load | Submit | Texts | Drop | Recall | Close


class Loaded(msgspec.Struct, tag="loaded", kw_only=True):
    """The model is ready. `notices` say what was shrunk to fit; `base`: the file has no chat template."""

    backend: str
    context: int
    slots: int
    retained: int = 0
    memory_bytes: int
    """Weights plus KV plus compute buffers, as the library reports them; 0 for echo."""
    gpu_bytes: int = 0
    """Those of them that lie on GPUs."""
    gpu_layers: int = 0
    layers: int = 0
    """Of how many; that of the output counts as one. 0 where the library does not split by layers."""
    devices: list[str] = []
    """Where they lie, as the library calls it; GPUs first."""
    base: bool = False
    system_later: bool = True
    """Whether the chat template takes a system message behind turns, where it stands."""
    dimension: int = 0
    """Numbers of a vector; 0: it generates text."""
    notices: list[str] = []

    @property
    def gpu_share(self) -> float | None:
        """Of `memory_bytes`, from 0 to 1; None where no device is named."""
        return round(self.gpu_bytes / max(self.memory_bytes, 1), 4) if self.devices else None


class LoadFailed(msgspec.Struct, tag="load_failed"):
    """The process ends after this one. `hint` may be empty. `unproven`: another rung may do better."""

    message: str
    hint: str = ""
    unproven: bool = False


class Piece(msgspec.Struct, tag="piece"):
    """What request `id` gained in this step: whole characters, never a part of a stop string."""

    id: int
    text: str = ""
    reasoning: str = ""
    moved: bool = False
    """All text before this piece was thought, as only now is known: of an endpoint that leaves out the opening tag."""


class Scored(msgspec.Struct):
    """A token as text and its natural log-probability; `top` holds (text, log-probability) of the likeliest, best first."""

    token: str
    logprob: float
    top: list[tuple[str, float]]


class Finished(msgspec.Struct, tag="finished", kw_only=True):
    """The end of request `id`, after its last Piece. `reason` is stop, length or cancelled.

    `logprobs`: one for each token sampled, where they were asked for. `drafted`, `accepted`: tokens of speculation, None
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
    """Whether other requests, or what they left, may have touched the rounding of this one."""
    logprobs: list[Scored] | None = None


class Flaw(msgspec.Struct):
    """Why the text at `index` could not be embedded; `code` is an error code of llmctl.errors."""

    index: int
    code: str
    message: str
    hint: str = ""


class Embedded(msgspec.Struct, tag="embedded", kw_only=True):
    """The end of texts `id`. `vectors`: (texts, dimension) float32, little endian, row by row; a flawed text's row is NaN."""

    id: int
    vectors: bytes
    tokens: int
    flaws: list[Flaw] = []


class Shortened(msgspec.Struct):
    """What was left out of the last message of the user: its characters from `start` to `end`, where `glue` stands instead.

    `tokens`: so many fewer than the `of` that the prompt had.
    """

    start: int
    end: int
    glue: str
    tokens: int
    of: int


class Remark(msgspec.Struct, tag="remark"):
    """Something that the one who asked for request `id` should know: in words, or what was left out."""

    id: int
    text: str
    shortened: Shortened | None = None


class Recalled(msgspec.Struct, tag="recalled"):
    """Request `id` was not begun, and will not be."""

    id: int


class Refused(msgspec.Struct, tag="refused"):
    """Request `id` cannot be computed: `code` is an error code of llmctl.errors."""

    id: int
    code: str
    message: str
    hint: str = ""


Event = Piece | Remark | Finished | Embedded | Recalled | Refused


class Step(msgspec.Struct, tag="step", kw_only=True):
    """Everything that one step of the engine brought, in one frame; also sent when `busy` changes without a token.

    `busy`: sequences that hold a slot after this step, or texts that are being embedded. `tokens_per_second`: over the last
    seconds, all of them.
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
    """The message with its length before it, ready for the socket."""
    body = _encoder.encode(message)
    return LENGTH.pack(len(body)) + body
