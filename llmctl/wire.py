"""Every message that crosses the hub's socket, and how it becomes bytes; nothing about sockets, files or models.

A frame pair is `[request id: 16 bytes][msgpack body]`. The id stands outside the body, so that even a body that
cannot be decoded gets its answer. Replies to one request are any number of `Delta | Notice | Progress`, then
exactly one of `Done | Failed | Cancelled`. `daemon/PROTOCOL.md` is the normative text.
"""

from typing import Any, TypeVar

import msgspec

PROTOCOL = 1
"""Raised whenever an old client and a new hub could misunderstand each other."""

ID_BYTES = 16
MAX_BODY_BYTES = 256 * 2**20
"""A larger frame is answered with `invalid_request` without being decoded."""
WINDOW = 64
"""Deltas that may be on their way to a client; it acknowledges every WINDOW // 2 of them, and the hub joins what
waits.
"""
HEARTBEAT_S = 1.0
"""The hub sends `Progress` this often for each request in flight: so each side notices when the other has vanished."""


class Message(msgspec.Struct, tag_field="type", omit_defaults=True, kw_only=True):
    """The root of all messages: a msgpack map whose `type` is the class's name. Unknown fields are ignored."""


class Request(Message):
    """What a client sends. `protocol` lets a hub of another version refuse by name instead of by accident."""

    protocol: int = 0


# ---- requests -------------------------------------------------------------------------------------------------------


class File(msgspec.Struct, omit_defaults=True):
    """A text file given with `-f`; `name` as the user wrote it."""

    name: str
    text: str


class Generate(Request, kw_only=True, tag="generate"):
    """One question. A field that is None was not given: the model's or the configuration's default holds.

    `cache` is one of CACHE_MODES, `extract` "first" or "last" (code block), `keep_reasoning` is not here: the hub
    always tells reasoning apart, and the client decides what to show.
    """

    prompt: str | None = None
    stdin: str | None = None
    files: list[File] = []
    params: dict[str, str] = {}
    """Values for `{name}` in prompt and system; a declared parameter without a value is null."""
    declared: dict[str, str | None] = {}
    tokens: list[int] | None = None
    """A prompt as token ids, instead of any text."""
    system: str | None = None
    raw: bool = False
    model: str | None = None
    default_model: str | None = None
    """Where `model` is null, and the conversation has no turn whose model would go on."""
    user: str = ""
    tags: list[str] = []
    conversation: str | None = None
    continue_last: bool = False
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] = {}
    """Token id in decimal, or a text that is one token -> added to its logit, -100..100."""
    seed: int | None = None
    stop: list[str] = []
    ignore_eos: bool = False
    extract: str | None = None
    adapters: dict[str, float] = {}
    """Name of an adapter in the model's settings -> its scale."""
    priority: str | None = None
    """"high", "normal" (default) or "batch"."""
    repro: bool = False
    """Alone, in fixed chunks, with nothing computed before: the same bytes each time on the same machine."""
    schema: str | None = None
    """A JSON schema, as JSON: the answer satisfies it."""
    grammar: str | None = None
    """A grammar in GBNF: the answer is a text of it."""
    logprobs: int | None = None
    """0..20: report so many of the likeliest tokens at each place, beside the one that was sampled."""
    think: str | None = None
    """One of THINK; null: as the model's settings say, or else its chat template."""
    overflow: str | None = None
    """Where a prompt is too long for the context: "error" (default), or what is left out of it: "head", "middle" or "tail"."""
    n: int | None = None
    """1..64 samples: the result is then `answers`, their deltas come one sample after another."""
    cache: str = "auto"
    max_age: float | None = None
    """Seconds: an older stored answer does not count."""
    semantic: bool | None = None
    """Whether the stored answer to a question that means the same will do; null: as `cache.semantic.enabled` says."""
    explain: bool = False
    """Tell in `Answer.explain` what became of the request on its way."""
    timeout: float | None = None
    """Seconds for the whole request, from its arrival at the hub."""
    keep_alive: float | None = None
    """Seconds that the model stays loaded after this request, if no other comes; -1: for ever."""
    stream: bool = False
    """Without it no Delta is sent, only the final reply."""


class Embed(Request, kw_only=True, tag="embed"):
    """Texts to be made into vectors, each by itself. -> Embeddings"""

    texts: list[str]
    """1..TEXTS of them."""
    model: str | None = None
    """Without it the first embedding model that was added, or the one that its package brings."""
    prompt: str | None = None
    """Name of a prompt of the model, which is put before each text."""
    user: str = ""


TEXTS = 1024
"""Of one `embed` request, at most: who has more sends several."""

CACHE_MODES = ("auto", "store", "skip", "refresh", "only")
"""auto: serve and store as the rules say; store: `--cache`; skip: `--no-cache`; refresh; only: `--cache-only`."""


THINK = ("on", "off", "low", "medium", "high")
"""How much a model is to think before it answers; which of them it understands is for its chat template to say."""

PRIORITIES = ("high", "normal", "batch")
"""First come those who wait for an answer; batch work runs where nobody else would, and makes room."""


class Cancel(Request, kw_only=True, tag="cancel"):
    """Cancels the request whose id the frame carries; handled at once, never queued behind work."""


class Ack(Request, kw_only=True, tag="ack"):
    """`count` more deltas of the request whose id the frame carries have been read."""

    count: int


class Status(Request, kw_only=True, tag="status"):
    """-> HubStatus"""


class Ps(Request, kw_only=True, tag="ps"):
    """-> Engines"""


class Stop(Request, kw_only=True, tag="stop"):
    """Drain for at most `timeout` seconds, then cancel, then end. -> Stopped, as the last thing the hub says."""

    timeout: float = 10.0


class AddModel(Request, kw_only=True, tag="add_model"):
    """Checks `target` and writes the model's file. -> Model"""

    name: str
    target: str
    """An absolute path of a GGUF file or of a folder of transformers or sentence-transformers, an http address, or `echo`."""
    aliases: list[str] = []
    settings: dict[str, str] = {}
    """`--set key=value`, decoded strictly against config.ModelSettings."""
    kind: str | None = None
    """What an endpoint's model makes, "text" or "embedding": its address does not tell. Others need none."""
    force: bool = False


class PullModel(Request, kw_only=True, tag="pull_model"):
    """Fetches a model of the Hugging Face hub and adds it: what was cut off goes on where it stopped. -> Model"""

    repo: str
    """OWNER/NAME."""
    file: str | None = None
    """A GGUF file of it, or a quantisation; None: the largest usual one that fits, or the folder."""
    name: str | None = None
    """What to call the model; None: as its file or repository."""
    aliases: list[str] = []
    settings: dict[str, str] = {}
    force: bool = False
    endpoint: str | None = None
    """Of the hub's copy to ask, https://huggingface.co without."""
    token: str | None = None

    def __repr__(self) -> str:
        return f"PullModel(repo={self.repo!r}, file={self.file!r}, name={self.name!r})"  # a token is in no log


class EstimateModel(Request, kw_only=True, tag="estimate_model"):
    """What a model would take in memory; nothing is loaded. -> Estimated"""

    target: str
    """Name or alias of a model, or the absolute path of one that was not added."""
    settings: dict[str, str] = {}
    """Beside those that the model has."""


class RemoveModel(Request, kw_only=True, tag="remove_model"):
    """Forgets a model and unloads it; deletes the files that a pull fetched for it alone, and no other. -> Nothing"""

    name: str


class LoadModel(Request, kw_only=True, tag="load_model"):
    """-> Engines, with the lines of this model"""

    name: str
    replicas: int | None = None
    """So many processes of it, from now on until it is unloaded; None: one at least."""


class PinModel(Request, kw_only=True, tag="pin_model"):
    """Loads the model and keeps it loaded, also by the next hub; or not any more. -> Engines, with the lines of this model"""

    name: str
    pinned: bool = True


class UnloadModel(Request, kw_only=True, tag="unload_model"):
    """Ends the model's engine once it serves nobody. -> Nothing; `model_unavailable` when it is not loaded."""

    name: str


class GetCacheStats(Request, kw_only=True, tag="cache_stats"):
    """-> CacheStats"""


class ListCache(Request, kw_only=True, tag="list_cache"):
    """What is stored, without the answers: entries of which everything holds that is given, in the order in which they came,
    `limit` at a time. -> CacheEntries
    """

    model: str | None = None
    user: str | None = None
    tags: list[str] = []
    """An entry has them all."""
    older: float | None = None
    newer: float | None = None
    """Seconds of age."""
    after: int = 0
    """The number of the last entry that is known already."""
    limit: int = 1000


class ShowCache(Request, kw_only=True, tag="show_cache"):
    """One stored answer, and what is known of it. -> CacheShown"""

    key: str
    """Or its beginning, where no other key begins so."""


class ClearCache(Request, kw_only=True, tag="clear_cache"):
    """Removes stored answers: those of which everything holds that is given, as for ListCache; without any, all. -> Cleared"""

    model: str | None = None
    user: str | None = None
    tags: list[str] = []
    older: float | None = None
    newer: float | None = None


class Warm(Request, kw_only=True, tag="warm"):
    """Sees to it that a stored answer is there: computes one, or takes the one that is given. -> Warmed"""

    request: Generate
    """In no conversation; `cache` is "auto", "store" or "refresh"."""
    text: str | None = None
    """The answer, checked like a computed one."""


class AuditCache(Request, kw_only=True, tag="audit_cache"):
    """How often the semantic cache answers, and how often wrongly. -> CacheAudit"""


class UndoHit(Request, kw_only=True, tag="undo_hit"):
    """Takes back a semantic hit: its question answers no other any more. -> HitUndone; `not_found`."""

    id: str | None = None
    """Of the request that was answered so, or how it begins; null: this user's last."""
    user: str = ""


class Undo(Request, kw_only=True, tag="undo"):
    """Takes back the last turn of a conversation. -> Undone"""

    conversation: str | None = None
    """Null: this user's last one."""
    user: str = ""
    look: bool = False
    """Only tell what would be taken back."""


AnyRequest = (
    Generate | Embed | Cancel | Ack | Status | Ps | Stop | AddModel | PullModel | EstimateModel | RemoveModel | LoadModel
    | PinModel
    | UnloadModel | GetCacheStats | ListCache | ShowCache | ClearCache | Warm | AuditCache | UndoHit | Undo
)  # fmt: skip


# ---- results: what a Done carries -----------------------------------------------------------------------------------


class Result(Message):
    """What a request was for."""


class Usage(msgspec.Struct):
    """Tokens. `completion_tokens` counts every token sampled, the end token too."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


class Timings(msgspec.Struct):
    """Milliseconds. `drafted`, `accepted`: tokens of speculation; null where there was none to be had."""

    queue_ms: float = 0.0
    load_ms: float = 0.0
    prefill_ms: float = 0.0
    decode_ms: float = 0.0
    total_ms: float = 0.0
    tokens_per_second: float | None = None
    drafted: int | None = None
    accepted: int | None = None


class CacheUse(msgspec.Struct):
    """Where the answer came from: `hit` is null, "memory", "disk", "shared", "semantic" or "flight"; `age_s` in seconds.

    `key`: of the stored answer. `similarity`: the cosine between the two questions, of a semantic hit.
    """

    hit: str | None = None
    key: str | None = None
    similarity: float | None = None
    age_s: float | None = None


class Likely(msgspec.Struct):
    """A token as text, and its natural log-probability in the model's own distribution."""

    token: str
    logprob: float


class Sampled(msgspec.Struct):
    """A token of the answer (an end token by its name); `top` holds the likeliest at its place, best first."""

    token: str
    logprob: float
    top: list[Likely]


class Explained(msgspec.Struct, omit_defaults=False):
    """What one stage found out about the request; `similarity` and `refused` (by which guard): of a stored question."""

    stage: str
    text: str
    similarity: float | None = None
    refused: str | None = None


class Answer(Result, kw_only=True, tag="answer", omit_defaults=False):
    """One answer, with the fields and names of `ask --json`. Those of later machinery are null."""

    id: str
    index: int = 0
    model: str = ""
    text: str = ""
    reasoning: str | None = None
    value: Any = None
    conversation: str | None = None
    finish_reason: str = "stop"
    user: str = ""
    usage: Usage
    timings: Timings
    cache: CacheUse
    cost: Any = None
    route: Any = None
    batched: bool | None = None
    """Whether other requests, or what they left in the KV memory, may have changed a greedy token by rounding; null: not
    computed for this request."""
    logprobs: list[Sampled] | None = None
    explain: list[Explained] | None = None
    """With `--explain`, in the order in which it was found out; else null."""


class Answers(Result, kw_only=True, tag="answers", omit_defaults=False):
    """The samples of one request that asked for several, by index."""

    answers: list[Answer]


class Flaw(msgspec.Struct):
    """Why the text at `index` has no vector; `code` is an error's code."""

    index: int
    code: str
    message: str
    hint: str = ""


class Embeddings(Result, kw_only=True, tag="embeddings", omit_defaults=False):
    """A vector of `dimension` numbers for each text, in their order; a text with a flaw has NaN instead."""

    model: str
    dimension: int
    vectors: bytes
    """float32, little endian, one vector after another."""
    tokens: int
    flaws: list[Flaw] = []


class HubStatus(Result, kw_only=True, tag="hub_status", omit_defaults=False):
    """`llmctl daemon status --json`."""

    state: str
    pid: int
    version: str
    protocol: int
    uptime_s: float
    socket: str
    models: list[str]
    requests_in_flight: int


class EngineStatus(msgspec.Struct):
    """A line of `llmctl ps --json`: one engine process. `until`: when it is unloaded if nobody asks for it; null while
    somebody does, and where it stays.

    `gpu_bytes` lie on GPUs, as the engine measured it, and `gpu_layers` of `layers` (0 of 0 where it does not split by layers);
    `devices` are called as its library calls them.
    """

    name: str
    backend: str
    pid: int
    state: str
    replica: int
    memory_bytes: int
    context: int
    slots: int
    busy: int
    tokens_per_second: float | None = None
    until: str | None = None
    gpu_bytes: int = 0
    gpu_layers: int = 0
    layers: int = 0
    devices: list[str] = []
    gpu_share: float | None = None
    """Of all that the engine holds for the model, what lies on GPUs: 0 to 1; null while it loads, and where there is none."""
    rung: str | None = None
    """How much of llama.cpp it may use: "as it is" unless that crashes; null while it loads, and of any other backend."""


class Engines(Result, kw_only=True, tag="engines", omit_defaults=False):
    engines: list[EngineStatus]


class Stopped(Result, kw_only=True, tag="stopped", omit_defaults=False):
    """`cancelled` names the requests that had not ended in time."""

    cancelled: list[str]


class LevelStats(msgspec.Struct):
    """A line of `llmctl cache stats --json`, one per level."""

    level: str
    hits: int = 0
    misses: int = 0
    errors: int = 0
    entries: int = 0
    bytes: int = 0
    p50_ms: float | None = None
    state: str = "ok"
    error: str | None = None
    """What it fails with."""


class PrefetchStats(msgspec.Struct):
    """What computing beforehand came to, as long as it is kept: a line of `llmctl cache stats --json`."""

    level: str = "prefetch"
    state: str = "on"
    """"on" or "stopped"."""
    reason: str | None = None
    """Why nothing is computed beforehand, if so."""
    prefetched: int = 0
    used: int = 0
    """Asked for in time, and served."""
    wasted: int = 0
    waiting: int = 0
    gain_s: float = 0.0
    """Seconds that users did not wait."""
    waste_s: float = 0.0
    """Seconds computed for nothing."""
    budget_left: int = 0
    """Of this hour."""
    busy: bool = False
    """Whether something is computed beforehand, or about to be."""


class CacheStats(Result, kw_only=True, tag="cache_stats_result", omit_defaults=False):
    levels: list[LevelStats]
    requests: int = 0
    hit_rate: float = 0.0
    joined: int = 0
    saved_s: float = 0.0
    saved_cost: float | None = None
    prefetch: PrefetchStats | None = None


class CacheEntry(msgspec.Struct):
    """A line of `llmctl cache ls --json`. Times are seconds since 1970; `seconds` is what computing it took, `prompt` the
    first words of what was asked, `number` the place in the list.
    """

    number: int
    key: str
    model: str
    user: str
    tags: list[str]
    conversation: str | None
    created: float
    expires: float
    bytes: int
    seconds: float
    hits: int
    last_hit: float | None
    prompt: str


class CacheEntries(Result, kw_only=True, tag="cache_entries", omit_defaults=False):
    entries: list[CacheEntry]


class LevelShown(msgspec.Struct):
    """A level that holds an entry: its bytes there, and seconds until its end."""

    level: str
    bytes: int
    left_s: float


class CacheShown(Result, kw_only=True, tag="cache_shown", omit_defaults=False):
    """An entry whole. `more` holds what other parts of the hub know of it: name -> field -> value."""

    entry: CacheEntry
    levels: list[LevelShown]
    text: str
    reasoning: str | None
    finish_reason: str
    usage: Usage
    samples: list[str]
    """The other answers, where several were asked for."""
    more: dict[str, dict[str, Any]]


class Cleared(Result, kw_only=True, tag="cleared", omit_defaults=False):
    entries: int


class Warmed(Result, kw_only=True, tag="warmed", omit_defaults=False):
    """What became of a request to be warmed; `seconds`: what computing it took."""

    key: str
    model: str
    outcome: str
    """"stored" (it was there), "generated" or "given"."""
    seconds: float = 0.0


class SemanticAudit(msgspec.Struct, kw_only=True, omit_defaults=False):
    """Rates are shares of all requests that might have been answered so; `wrong_rate_upper`: of its 95 % interval.

    `pairs`: verified ones, on which the rates rest; null as long as there are none. `verified`: hits computed once more.
    """

    requests: int
    hits: int
    hit_rate: float
    wrong_rate: float | None
    wrong_rate_upper: float | None
    max_error: float
    pairs: int
    judge: str
    explored: int = 0
    verified: int = 0
    judged: int = 0
    """Questions to judges."""
    undone: int = 0
    """Hits that users took back."""


class CacheAudit(Result, kw_only=True, tag="cache_audit", omit_defaults=False):
    semantic: SemanticAudit


class ServedTo(msgspec.Struct, omit_defaults=False):
    """Who got a stored answer to a question of their own; `at`: seconds since 1970."""

    id: str
    user: str
    at: float
    prompt: str | None


class HitUndone(Result, kw_only=True, tag="hit_undone", omit_defaults=False):
    """The hit of request `id`: `key` is of the stored answer, `question` what that had been computed for."""

    id: str
    key: str
    question: str | None
    served: list[ServedTo]
    """Newest first, the one that was taken back too."""


class Undone(Result, kw_only=True, tag="undone", omit_defaults=False):
    """The prompt that was taken back, and the system prompt that was in force; null when the conversation had no turn left."""

    prompt: str | None
    system: str | None = None


class Model(Result, kw_only=True, tag="model", omit_defaults=False):
    """A model as it was added; `settings` as they were given."""

    name: str
    target: str
    backend: str
    kind: str = "text"
    """"text" or "embedding"."""
    aliases: list[str]
    settings: dict[str, Any]


class Estimated(Result, kw_only=True, tag="estimated", omit_defaults=False):
    """Bytes. `measured_bytes`: what it took when it was last loaded so; null before."""

    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    total_bytes: int
    measured_bytes: int | None


class Nothing(Result, kw_only=True, tag="nothing"):
    """Done, and there is nothing to say."""


AnyResult = (
    Answer
    | Answers
    | Embeddings
    | HubStatus
    | Engines
    | Stopped
    | CacheStats
    | CacheEntries
    | CacheShown
    | Cleared
    | Warmed
    | CacheAudit
    | HitUndone
    | Undone
    | Model
    | Estimated
    | Nothing
)


# ---- replies --------------------------------------------------------------------------------------------------------


class Reply(Message):
    """What the hub sends."""


class Delta(Reply, kw_only=True, tag="delta"):
    """A piece of the answer, or of the reasoning before it; in order, never part of a stop string or of a character."""

    text: str = ""
    reasoning: str = ""
    index: int = 0


class Notice(Reply, kw_only=True, tag="notice"):
    """Something the user should know that is not the answer."""

    text: str


class Progress(Reply, kw_only=True, tag="progress"):
    """Still at work; `state` is "working", "loading", "queued" or "pulling"."""

    state: str = "working"
    done: int = 0
    total: int = 0
    """Bytes that have come, of all; 0: not a matter of bytes."""


class Done(Reply, kw_only=True, tag="done"):
    result: AnyResult


class Failed(Reply, kw_only=True, tag="failed"):
    """`answer` holds what had been generated. `retry`: nothing was begun, so the same request may be sent to the
    next hub.
    """

    code: str
    message: str
    hint: str = ""
    answer: Answer | None = None
    answers: list[Answer] = []
    """Instead of `answer`, where several samples were asked for."""
    retry: bool = False


class Cancelled(Reply, kw_only=True, tag="cancelled"):
    answer: Answer | None = None
    answers: list[Answer] = []


AnyReply = Delta | Notice | Progress | Done | Failed | Cancelled
FINAL = (Done, Failed, Cancelled)


class HubInfo(msgspec.Struct, kw_only=True):
    """What a ready hub writes about itself, as JSON, beside its socket. `started` is seconds since 1970,
    `fingerprint` that of the configuration it read (0: unknown), `socket` a path."""

    pid: int
    version: str
    protocol: int
    socket: str
    started: float = 0.0
    fingerprint: int = 0


WHOLE = 1
"""The extension type of a whole number that no 64 bits hold: its decimal digits."""
BITS_64 = range(-(2**63), 2**64)


class Whole(int):
    """One of those."""


def with_whole(value: Any) -> Any:
    """What JSON holds, as a message can carry it."""
    if isinstance(value, dict):
        return {name: with_whole(each) for name, each in value.items()}
    if isinstance(value, list):
        return [with_whole(each) for each in value]
    return Whole(value) if isinstance(value, int) and value not in BITS_64 else value


def _extended(value: Any) -> msgspec.msgpack.Ext:
    if not isinstance(value, Whole):
        raise TypeError(f"no message carries a {type(value).__name__}")
    return msgspec.msgpack.Ext(WHOLE, str(int(value)).encode())


def _whole(code: int, data: memoryview) -> int | msgspec.msgpack.Ext:
    return int(bytes(data)) if code == WHOLE else msgspec.msgpack.Ext(code, bytes(data))


_encoder = msgspec.msgpack.Encoder(enc_hook=_extended)
_requests: msgspec.msgpack.Decoder[AnyRequest] = msgspec.msgpack.Decoder(AnyRequest)
_replies: msgspec.msgpack.Decoder[AnyReply] = msgspec.msgpack.Decoder(AnyReply, ext_hook=_whole)

M = TypeVar("M", bound=Message)


def encode(message: Message) -> bytes:
    """The msgpack body of a message."""
    return _encoder.encode(message)


def decode_request(body: bytes) -> AnyRequest:
    """Raises msgspec.DecodeError (msgspec.ValidationError names the field) when the body is not a request."""
    return _requests.decode(body)


def decode_reply(body: bytes) -> AnyReply:
    """Raises msgspec.DecodeError when the body is not a reply."""
    return _replies.decode(body)


class _Head(msgspec.Struct):
    protocol: int = 0


_heads = msgspec.msgpack.Decoder(_Head)


def protocol_of(body: bytes) -> int | None:
    """The protocol number of any version's request, or None when the body is no msgpack map."""
    try:
        return _heads.decode(body).protocol
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
