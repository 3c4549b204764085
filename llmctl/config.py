"""Settings as strict structs: defaults, then the TOML file, then variables LLMCTL_SECTION__KEY; and the files of added models.

An unknown key is an error that names the key and the file. The user's file is only read; `models add` writes one file per model.
"""

import os
import re
import zlib
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

import msgspec

from llmctl.errors import ConfigError, InvalidRequest, nearest, short
from llmctl.misfits import misfit_of

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZES = {"": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Duration(float):
    """Seconds, written `90s`, `15m`, `2h`, `7d` or as a bare number of seconds."""


class KeepAlive(float):
    """Seconds that an unused model stays loaded; written as a duration, 0 (not at all) or -1 (forever)."""


class Size(int):
    """Bytes, written `512M`, `4G` or as a bare number of bytes."""


def parse_duration(text: str | float) -> Duration:
    """Seconds. Raises ValueError for anything but a non-negative number with an optional unit."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)?\s*", str(text))
    if not match:
        raise ValueError(f"{text!r} is not a duration such as 90s, 15m, 2h or 7d")
    return Duration(float(match[1]) * _UNITS[match[2] or "s"])


def parse_keep_alive(text: str | float) -> KeepAlive:
    """Seconds; negative: forever. Raises ValueError."""
    if str(text).strip() in ("-1", "-1.0"):
        return KeepAlive(-1)
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is neither a duration such as 5m, nor 0, nor -1 (forever)") from error
    if found > LONGEST_S:
        raise ValueError(f"{text!r} is longer than {LONGEST_S // 86400} days; -1 means forever")
    return KeepAlive(found)


def parse_size(text: str | int) -> Size:
    """Bytes. Raises ValueError for anything but a non-negative number with an optional unit."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([BKMGT]?)i?B?\s*", str(text).upper().replace("IB", "B"))
    if not match:
        raise ValueError(f"{text!r} is not a size such as 512M or 4G")
    return Size(float(match[1]) * _SIZES[match[2]])


LONGEST_S = 3650 * 86400
"""Maximum of `keep_alive`: its end is still a valid date."""
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
    max_replicas: Count | None = None
    """Maximum number of processes of one model. Default: the number of cores."""


class HistorySettings(Section, frozen=True):
    durability: Literal["normal", "full"] = "normal"
    """What a power cut may undo: `normal` the last seconds, `full` nothing. Neither loses anything when a process is killed."""


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
        for name in PRICES:
            price = getattr(self, name)
            if price is not None and not (price.is_finite() and price >= 0):
                raise ValueError(f"{name} is {price}; it must be a number of 0 or more")

    def computing(self) -> "ModelSettings":
        """The settings without those that change neither an answer nor how it is computed."""
        return msgspec.structs.replace(self, **dict.fromkeys(LABELS))


PRICES = ("price_in", "price_cached", "price_out")
LABELS = ("keep_alive", "pin", "preload", "tier", "tags", *PRICES)
"""Settings that do not affect how a model computes."""


SEARCH = "models.search"
"""A list of folders among the sections of models. A table of this name holds the settings of a model called search."""


class Config(Section, frozen=True):
    defaults: Defaults = Defaults()
    limits: Limits = Limits()
    cache: Cache = Cache()
    resources: Resources = Resources()
    history: HistorySettings = HistorySettings()
    logs: Logs = Logs()
    models: dict[str, ModelSettings] = {}
    search: list[str] = msgspec.field(default_factory=list, name=SEARCH)
    """Folders in which `models find` looks for models, beside those of other programs."""

    def fingerprint(self) -> int:
        """A checksum of everything that the hub reads when it starts: all but what the client reads."""
        models = dict(sorted(self.models.items()))
        read = msgspec.structs.replace(self, defaults=Defaults(), models=models, search=[])
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


S = TypeVar("S", bound=Section)


def _decode_unit(kind: type, value: Any) -> Any:
    if kind is Duration:
        return parse_duration(value)
    if kind is KeepAlive:
        return parse_keep_alive(value)
    if kind is Size:
        return parse_size(value)
    raise TypeError(f"{kind} has no unit")


def decode(kind: type[S], values: Mapping[str, Any], source: str, *, text: bool = False) -> S:
    """`values` as a section. `text`: every value is a string, as in the environment.

    Raises ConfigError that names the key and the source.
    """
    if kind is Config:
        values = _with_search(values)
    try:
        return msgspec.convert(values, kind, strict=not text, dec_hook=_decode_unit)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), kind, values, source, text)) from error


def _with_search(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """`models.search` as a key of its own, if it is no table."""
    models = values.get("models")
    if not isinstance(models, dict) or "search" not in models or isinstance(models["search"], dict):
        return values
    rest = {name: settings for name, settings in models.items() if name != "search"}
    return {**values, "models": rest, SEARCH: models["search"]}


def _explain(message: str, kind: type[Section], values: Mapping[str, Any], source: str, text: bool) -> str:
    """msgspec's words with the dotted key first: `cache.ttl: ... (in FILE)`."""
    found = misfit_of(message)
    key, what = found.field.replace("[...]", ".*"), found.words
    if kind is Config and key.startswith("models.*"):
        return _explain_model(values["models"], source, text)
    if found.is_enum:
        place, _, field = key.rpartition(".")
        what += f", which must be one of {', '.join(_words(get_type_hints(_section(kind, place))[field]))}"
    elif found.pattern == DEVICES:
        what = "no such device; possible: auto, cpu, cuda, mps, vulkan, xpu, or one with a number, such as cuda:1"
    elif found.unknown:
        section = _section(kind, key)
        key = f"{key}.{found.unknown}".lstrip(".")
        what = f"unknown key. {nearest(found.unknown, section.__struct_fields__)}"
    return f"{key or 'the file'}: {what} (in {source})"


def _explain_model(models: Mapping[str, Any], source: str, text: bool) -> str:
    """Names the model as well, which msgspec does not."""
    for name, settings in models.items():
        try:
            decode(ModelSettings, settings, source, text=text)
        except ConfigError as error:
            return f"models.{name}.{error.message}"
    raise AssertionError("each model decodes by itself")


def _words(kind: Any) -> list[str]:
    """The values of a Literal, also within a union."""
    found: list[str] = []
    for part in get_args(kind):
        found += [part] if isinstance(part, str) else _words(part)
    return found


def _section(kind: type[Section], key: str) -> type[Section]:
    """The section that a dotted key leads to; `models.*` leads to ModelSettings."""
    for part in filter(None, key.split(".")):
        if part == "*" or part not in kind.__struct_fields__:
            return ModelSettings
        default = getattr(kind(), part)
        kind = type(default) if isinstance(default, Section) else ModelSettings
    return kind


def read_file(path: Path) -> dict[str, Any]:
    """The content of the TOML file, {} if there is none. Raises ConfigError if it cannot be read."""
    if not path.exists():
        return {}
    if not path.is_file():  # reading a pipe would wait for a writer
        raise ConfigError(f"{path} is not a regular file")
    import tomli

    try:
        return tomli.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, tomli.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"cannot read {path}: {error.strerror if isinstance(error, OSError) else error}") from error


def from_environment(environ: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    """{dotted key: (variable, value)} of each LLMCTL_SECTION__KEY. A list or a mapping is written as JSON."""
    found: dict[str, tuple[str, Any]] = {}
    for name, value in environ.items():
        if name.startswith("LLMCTL_") and "__" in name:
            try:
                parsed = msgspec.json.decode(value) if value[:1] + value[-1:] in ("[]", "{}") else value
            except msgspec.DecodeError as error:
                raise ConfigError(f"the variable {name} is not a list or object in JSON: {error}") from error
            found[name.removeprefix("LLMCTL_").lower().replace("__", ".")] = (name, parsed)
    return found


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Defaults, overridden by the file, overridden by the environment. Raises ConfigError that names the key and its source."""
    if environ.get("LLMCTL_CONFIG") and not path.exists():
        raise ConfigError(f"LLMCTL_CONFIG names {path}, which does not exist", "`llmctl config init` creates it.")
    values = read_file(path)
    config = decode(Config, values, str(path)) if values else Config()
    for key, (variable, value) in from_environment(environ).items():
        nested: Any = value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        decode(Config, nested, f"the variable {variable}", text=True)
        values = _merge(values, nested)
        config = decode(Config, values, f"{path} with {variable}", text=True)
    return config


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        merged[key] = _merge(merged.get(key, {}), value) if isinstance(value, dict) else value
    return merged


# ---- added models: one JSON file each -------------------------------------------------------------------------------

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


def check_name(what: str, name: str) -> str:
    """Returns the name. Raises InvalidRequest if it cannot be a file name."""
    if not NAME.fullmatch(name):
        raise InvalidRequest(
            f"{what} {short(name)!r} is not a name",
            "A name begins with a letter or digit and has at most 64 characters: letters, digits and . _ : -",
        )
    return name


class ModelEntry(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An added model. `added` is in seconds since 1970; the oldest is the default model."""

    name: str
    target: str
    backend: str
    kind: str = "text"
    """What it makes: "text" or "embedding"."""
    aliases: list[str] = []
    settings: dict[str, Any] = {}
    added: float = 0.0
    pulled: str = ""
    """The repository its files were downloaded from; empty for the user's own files."""
    origin: str = ""
    """`ollama:NAME` for a file in the store of that program, which may replace or remove it."""


def read_models(folder: Path, broken: Callable[[str], None]) -> dict[str, ModelEntry]:
    """The added models by name, oldest first. `broken` is called with a message for each file that cannot be read."""
    entries = []
    for file in sorted(folder.glob("*.json")):
        try:
            entry = msgspec.json.decode(file.read_bytes(), type=ModelEntry)
        except FileNotFoundError:
            continue  # removed between the listing and the reading
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            broken(f"cannot read {file}: {error}; remove it and add the model again")
        else:
            entries.append(entry)
    return {entry.name: entry for entry in sorted(entries, key=lambda entry: (entry.added, entry.name))}
