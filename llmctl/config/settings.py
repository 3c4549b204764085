"""The settings, as strict structs: their types, ranges and defaults.

It reads nothing; reading.py fills them in.
"""

import zlib
from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec

from llmctl.config.amounts import RANGE, is_amount
from llmctl.config.currencies import CURRENCIES
from llmctl.config.units import Duration, KeepAlive, Size

Count = Annotated[int, msgspec.Meta(ge=1)]
Milliseconds = Annotated[float, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Part = Annotated[float, msgspec.Meta(ge=0)]
Temperature = Annotated[float, msgspec.Meta(ge=0, le=2)]
TopK = Annotated[int, msgspec.Meta(ge=0)]
DEVICES = r"^(auto|cpu|(cuda|mps|vulkan|xpu)(:[0-9]{1,3})?)$"
Device = Annotated[str, msgspec.Meta(pattern=DEVICES)]
"""`auto`, `cpu`, or a kind of GPU with an optional number. `cuda` includes AMD GPUs, as in torch; `xpu` is Intel's."""
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
KvType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]


class Section(msgspec.Struct, forbid_unknown_fields=True, frozen=True, omit_defaults=True, kw_only=True):
    """The base of all sections: unknown keys are errors."""


def _check_prices(section: Section, names: tuple[str, ...]) -> None:
    for name in names:
        price = getattr(section, name)
        if price is not None and not is_amount(price):
            raise ValueError(f"{name} is {price}; it must be {RANGE}")


class Defaults(Section, frozen=True):
    """Defaults of requests; read by the client and sent with each request."""

    model: str | None = None
    embedding_model: str | None = None
    guide: bool = True
    """Whether the built-in guide answers `llmctl ask` where no model has been added."""
    user: str | None = None
    timeout: Duration | None = None
    max_tokens: Count = 2048
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_k: TopK | None = None
    min_p: Share | None = None

    def __post_init__(self) -> None:
        if self.timeout is not None and not self.timeout > 0:
            raise ValueError("timeout must be above 0")


class Limits(Section, frozen=True):
    queue: Annotated[int, msgspec.Meta(ge=0)] = 512
    per_client: Annotated[int, msgspec.Meta(ge=1)] = 256
    prompt_bytes: Size = Size(16 * 2**20)
    memory_bytes: Size | None = None
    """Host memory for all loaded models. Default: 80 % of the memory of the machine or its control group."""
    gpu_memory_bytes: Size | None = None
    """Memory of each GPU for all loaded models. Default: 90 % of the GPU's memory."""


HOST_SHARE = 0.8
"""Share of the machine's memory for models if `limits.memory_bytes` is not set."""
CONTEXT_CAP = 8192
"""Tokens of a request if a model's settings name no `context`. Files declare up to a million, too many for memory."""
NO_JUDGE = "none"
"""The value of `cache.semantic.judge` for no judge: only equal answers count as the same."""

BUILTIN = "all-MiniLM-L6-v2"
"""The embedding model that an extra package contains; it can be named without being added."""


class Semantic(Section, frozen=True):
    """Serving stored answers to questions of the same meaning."""

    enabled: bool = False
    max_error: Annotated[float, msgspec.Meta(gt=0, le=0.5)] = 0.005
    """Maximum share of wrong answers among all requests that use the semantic cache."""
    judge: str | None = None
    """Model that compares two answers. Default: the one that wrote them; NO_JUDGE: only equal answers count as the same."""
    model: str | None = None
    """Embedding model. Default: as for `llmctl embed`."""
    min_similarity: Share | None = None
    neighbours: Annotated[int, msgspec.Meta(ge=1, le=50)] = 5


class Prefetch(Section, frozen=True):
    """Prefetch: computing likely next requests while the hub is idle."""

    enabled: bool = False
    budget_per_hour: Annotated[int, msgspec.Meta(ge=0)] = 0


class Cache(Section, frozen=True):
    enabled: bool = True
    memory_bytes: Size = Size(256 * 2**20)
    disk_bytes: Size = Size(4 * 2**30)
    shared_url: str | None = None
    ttl: Duration | None = None
    """Fixed lifetime of all answers. Default: predicted for each; 30 days until there is data."""
    eviction: Literal["gdsf", "lru", "sieve", "s3fifo", "wtinylfu", "weighted"] = "gdsf"
    scope: list[str] = msgspec.field(default_factory=lambda: ["user"])
    prefix_memory_bytes: Size = Size(512 * 2**20)
    """Host memory of each engine for computed prefixes that no longer fit in its KV cache."""
    prefix_disk_bytes: Size = Size(4 * 2**30)
    """Disk space of each model for such prefixes; they survive a restart. 0: none."""
    semantic: Semantic = Semantic()
    prefetch: Prefetch = Prefetch()


class Resources(Section, frozen=True):
    max_wait: Duration = Duration(20)
    load_timeout: Duration = Duration(300)
    """Time without progress after which the load of a model is ended. Reading a large file is progress."""
    max_replicas: Count | None = None
    """Maximum number of processes of one model. Default: the number of cores."""


class HistorySettings(Section, frozen=True):
    durability: Literal["normal", "full"] = "normal"
    """What a power cut may undo: `normal` the last seconds, `full` nothing. Neither loses anything when a process is killed."""


class Money(Section, frozen=True):
    """What computing costs, where a model has no prices of its own."""

    currency: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")] = "USD"
    machine_per_hour: Decimal | None = None
    """Price of an hour in which this machine computes. Default: none, so that models without prices are unpriced."""
    energy_per_kwh: Decimal | None = None
    """Price of a kilowatt hour, where the machine measures its energy; used without `machine_per_hour`."""

    def __post_init__(self) -> None:
        if self.currency not in CURRENCIES:
            raise ValueError(f"currency is {self.currency}, which is no currency of ISO 4217 such as USD or EUR")
        _check_prices(self, ("machine_per_hour", "energy_per_kwh"))


class Templates(Section, frozen=True):
    read_allow: list[str] = []
    """Files and folders that a template or a row may read, besides its own folder and the current one. Full paths, or `~/...`."""

    def __post_init__(self) -> None:
        for name in self.read_allow:
            if not name.startswith(("/", "~")):
                raise ValueError(f"read_allow contains {name!r}, which is not a full path")


class Logs(Section, frozen=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    max_bytes: Size = Size(10 * 2**20)
    files: Count = 5


class ModelSettings(Section, frozen=True):
    """Settings of one model; None stands for the default that the comment names."""

    context: Count | None = None
    """Context size in tokens for one request. Default: the file's own, at most 8,192."""
    slots: Annotated[int, msgspec.Meta(ge=1, le=64)] | None = None
    """Requests that run at the same time. Default: 4."""
    retained: Annotated[int, msgspec.Meta(ge=0, le=64)] | None = None
    """Idle streams that keep prefixes of earlier requests. Default: as many as slots."""
    threads: Count | None = None
    """Default: the physical cores it may use, fewer while other programs need them."""
    gpu_layers: Annotated[int, msgspec.Meta(ge=-1)] | None = None
    """Layers on the GPU. Default: all that fit."""
    device: Device | None = None
    """auto (default), cpu, cuda, cuda:N, mps, vulkan or xpu."""
    tensor_split: list[Part] | None = None
    """Proportion of the layers on each GPU. Default: by free memory."""
    kv_type: KvType | None = None
    """Type of the KV cache. Default: f16."""
    flash_attention: bool | None = None
    """Faster, with coarser rounding. Default: llama.cpp decides."""
    batch: Count | None = None
    """Maximum number of tokens computed in one step. Default: 512."""
    adapters: dict[str, str] | None = None
    """LoRA adapters for `--adapter`: name -> path of a GGUF file."""
    speculation: Literal["ngram", "off"] | None = None
    """Speculative decoding from repeated text. Default: ngram. Answers do not change."""
    pooling: Literal["mean", "cls", "last"] | None = None
    """Embeddings: pooling of token vectors. Default: from the file."""
    normalize: bool | None = None
    """Embeddings: scale vectors to length 1. Default: from the folder; true for a GGUF file."""
    prompts: dict[str, str] | None = None
    """Embeddings: name -> the text that `--prompt NAME` puts before each text."""
    draft: str | None = None
    """Draft model for speculative decoding: the GGUF file of a smaller model with the same vocabulary."""
    remote_model: str | None = None
    """remote: the endpoint's name for the model. Default: its only model."""
    api_key_env: Annotated[str, msgspec.Meta(pattern=VARIABLE)] | None = None
    """remote: environment variable of the hub, or keyring entry, that holds the API key."""
    retries: Annotated[int, msgspec.Meta(ge=0, le=10)] | None = None
    """remote: retries before the first token. Default: 3."""
    idle_s: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """remote: seconds without data after which a request fails. Default: 300."""
    takes_grammar: bool | None = None
    """remote: the endpoint accepts `--grammar`, as llama-server does. Default: false."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = None
    """Transformers folder: number type; auto (default) is float32 on a CPU, else as the folder says."""
    quantization: Literal["int8", "nf4"] | None = None
    """Transformers folder: weights in 8 bits (torchao) or 4 bits (bitsandbytes, accelerate). Default: not quantized."""
    trust: bool | None = None
    """Transformers folder: allow its own code to run and weights to be read from a pickle. Default: false."""
    think: Literal["on", "off", "low", "medium", "high"] | None = None
    """Default of `--think`. Without it, what the chat template does by itself."""
    template: str | None = None
    """File with a chat template to use instead of the model's own."""
    template_options: dict[str, Any] | None = None
    """Further variables for the chat template: name -> value."""
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_k: TopK | None = None
    min_p: Share | None = None
    tier: Literal["premium", "standard", "economy"] | None = None
    """Quality and price class."""
    tags: list[str] | None = None
    price_in: Decimal | None = None
    """Price per million prompt tokens, in the configured currency."""
    price_cached: Decimal | None = None
    """Price per million prompt tokens found in the provider's cache."""
    price_out: Decimal | None = None
    """Price per million generated tokens."""
    machine_per_hour: Decimal | None = None
    """Price of an hour in which the model computes, besides its token prices if it has any. Default: `money.machine_per_hour`
    where the model has no token price and runs here."""
    overhead: Decimal | None = None
    """Share that is added to the price of machine time. Default: 0.10."""
    overhead_on: Literal["machine", "all"] | None = None
    """What the overhead is added to: machine time (default), or token prices too."""
    keep_alive: KeepAlive | None = None
    """How long the model stays loaded without requests. Default: 15m. 0: unload after each answer; -1: forever."""
    pin: bool | None = None
    """Keep loaded: never unloaded to make room or after `keep_alive`, and loaded when the hub starts."""
    preload: bool | None = None
    """Load when the hub starts."""
    load_ms: Milliseconds | None = None
    """echo: milliseconds to load."""
    takes: Size | None = None
    """echo: memory it claims to use."""
    first_ms: Milliseconds | None = None
    """echo: milliseconds before the first token."""
    token_ms: Milliseconds | None = None
    """echo: milliseconds per step."""
    fail: Literal["load", "crash", "error"] | None = None
    """echo: `load` refuses to load, `crash` ends the process at the third token, `error` fails each request."""

    def __post_init__(self) -> None:
        if self.tensor_split is not None and not sum(self.tensor_split) > 0:
            raise ValueError("tensor_split must have at least one share above 0")
        _check_prices(self, PRICES)

    def computing(self) -> "ModelSettings":
        """The settings without those that change neither an answer nor how it is computed."""
        return msgspec.structs.replace(self, **dict.fromkeys(LABELS))


PRICES = ("price_in", "price_cached", "price_out", "machine_per_hour", "overhead")
LABELS = ("keep_alive", "pin", "preload", "tier", "tags", *PRICES, "overhead_on")
"""Settings that do not affect how a model computes."""


SEARCH = "models.search"
"""A list of folders among the sections of models. A table of this name holds the settings of a model called search."""


class Config(Section, frozen=True):
    defaults: Defaults = Defaults()
    limits: Limits = Limits()
    cache: Cache = Cache()
    resources: Resources = Resources()
    history: HistorySettings = HistorySettings()
    money: Money = Money()
    templates: Templates = Templates()
    logs: Logs = Logs()
    models: dict[str, ModelSettings] = {}
    search: list[str] = msgspec.field(default_factory=list, name=SEARCH)
    """Folders in which `models find` looks for models, beside those of other programs."""

    def fingerprint(self) -> int:
        """A checksum of everything that the hub reads when it starts: all but what the client reads."""
        models = dict(sorted(self.models.items()))
        read = msgspec.structs.replace(self, defaults=Defaults(), templates=Templates(), models=models, search=[])
        return zlib.crc32(repr(read).encode())


def sections(section: Section, prefix: str = "") -> list[tuple[str, Section]]:
    """(dotted name, section) of each section; nested ones follow their parent."""
    found: list[tuple[str, Section]] = []
    for name in section.__struct_fields__:
        if isinstance(inner := getattr(section, name), Section):
            found += [(prefix + name, inner), *sections(inner, f"{prefix}{name}.")]
    return found


def keys(section: Section) -> list[str]:
    """The keys of a section, without nested sections."""
    return [name for name in section.__struct_fields__ if not isinstance(getattr(section, name), Section)]
