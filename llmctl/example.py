"""The text of config.example.toml, made from the configuration's own structs, so that it cannot say anything else.

It knows what each key means in a sentence; what a key does is its room's business.
"""

from typing import Any

import msgspec

from llmctl.config import Config, Duration, ModelSettings, Size, keys, sections

SECTIONS = {
    "defaults": "What the command line uses when a flag is not given.",
    "limits": "What the hub takes before it says no.",
    "cache": "The stored answers.",
    "cache.semantic": "Answers to questions that mean the same; `--semantic` asks for it where this does not.",
    "cache.prefetch": "Likely next requests, computed while nobody waits.",
    "resources": "How models share the memory.",
    "logs": "The hub's log.",
}
KEYS = {
    "defaults.model": "Name of a model; without it the one that was added first.",
    "defaults.embedding_model": "The same for embeddings; without it the first one added, else all-MiniLM-L6-v2.",
    "defaults.user": "Whose requests these are; without it the name of the system's user.",
    "defaults.timeout": "Time limit of a whole request, such as 90s.",
    "defaults.max_tokens": "Tokens of an answer, at most.",
    "defaults.temperature": "0 is greedy; at most 2. Without it the model's own.",
    "defaults.top_p": "Sample among the likeliest tokens that add up to this share.",
    "defaults.top_k": "Sample among so many tokens.",
    "defaults.min_p": "Leave out tokens less likely than this share of the best.",
    "limits.queue": "Requests that may wait for one model; more are refused (status 10).",
    "limits.prompt_bytes": "Bytes of one request's text, at most.",
    "limits.memory_bytes": "Host memory of all loaded models; without it 80 % of the machine's, or of its control group's.",
    "limits.gpu_memory_bytes": "Memory of each GPU that loaded models take; without it 90 % of what it has.",
    "cache.enabled": "Whether answers are stored at all.",
    "cache.memory_bytes": "Stored answers in memory.",
    "cache.disk_bytes": "Stored answers on disk.",
    "cache.shared_url": "A Redis or Valkey server that several machines share answers through.",
    "cache.ttl": "How long an answer is kept; without it predicted, and 30 days until something was learned.",
    "cache.eviction": "Which answers go first: gdsf (what is worth least per byte), lru, sieve, s3fifo, wtinylfu, weighted.",
    "cache.scope": "Who shares stored answers: those alike in all that is named here.",
    "cache.prefix_memory_bytes": "Computed prefixes that an engine puts out of its KV memory, in host memory.",
    "cache.prefix_disk_bytes": "The same in files, for each model, which a restart survives; 0 for none.",
    "cache.semantic.enabled": "Whether every request may be answered so.",
    "cache.semantic.max_error": "Wrong answers, at most: a share of all requests that may be answered so.",
    "cache.semantic.judge": "The model that says whether two answers serve alike: their own. none: only equal ones do.",
    "cache.semantic.model": "The embedding model; without it as for `llmctl embed`.",
    "cache.semantic.min_similarity": "Below it nothing is served so, whatever was learned.",
    "cache.semantic.neighbours": "Stored questions that are looked at for each request.",
    "cache.prefetch.enabled": "Whether that is done at all.",
    "cache.prefetch.budget_per_hour": "Requests an hour, at most.",
    "resources.max_wait": "After so long a model that is not loaded gets room from one that is at work.",
    "resources.max_replicas": "Processes of one model (`models load --replicas`); as many as there are cores.",
    "logs.level": "debug, info, warning or error.",
    "logs.max_bytes": "Size at which the log is rotated.",
    "logs.files": "Rotated logs that are kept.",
}
SETTINGS = {
    "context": ("Tokens that one request may use; the file's own, at most 8192.", 4096),
    "slots": ("Requests that run together; 4.", 4),
    "retained": (
        "Streams of KV memory that keep prefixes of ended requests; as many as slots, where there is room.",
        4,
    ),
    "threads": ("Threads in every step; the physical cores that may be used, and fewer while others want them.", 4),
    "gpu_layers": ("Layers on the GPU; all that fit.", 0),
    "device": ("Where it runs: auto (default), cpu, cuda, cuda:N, mps, vulkan or xpu.", "cuda:0"),
    "tensor_split": ("How much of the layers each GPU gets, in proportion; as their free memory is.", [3, 1]),
    "kv_type": ("Type of the KV memory: f16 (default), f32, q8_0, q4_0, q4_1, q5_0, q5_1, bf16.", "f16"),
    "flash_attention": ("Faster attention that rounds more coarsely; where llama.cpp thinks that it pays.", True),
    "batch": ("Tokens computed in one step, at most; 512.", 512),
    "adapters": ("LoRA adapters that `--adapter NAME` takes: their GGUF files.", {"NAME": "/path/of/adapter.gguf"}),
    "speculation": ("Tokens drafted from what the text repeats: ngram (default) or off.", "ngram"),
    "pooling": ("Embeddings: mean, cls or last; as the file says.", "mean"),
    "normalize": ("Embeddings: vectors of length 1; as a folder says, and yes for a GGUF file.", True),
    "prompts": ("Embeddings: what `--prompt NAME` puts before each text.", {"query": "search_query: "}),
    "draft": (
        "A smaller model of the same vocabulary that drafts too, where that pays: its GGUF file.",
        "/path/of/small.gguf",
    ),
    "remote_model": ("Remote: what the endpoint calls the model; the only one that it has.", "ID"),
    "api_key_env": ("Remote: the variable (of the hub's environment) that holds the key.", "OPENAI_API_KEY"),
    "retries": ("Remote: attempts after the first one, never after the first token; 3.", 3),
    "idle_s": ("Remote: seconds without a sign of an answer, after which it has failed; 300.", 300.0),
    "takes_grammar": ("Remote: the endpoint is a llama-server, which takes a `--grammar`; false.", True),
    "dtype": (
        "A transformers folder: float32, bfloat16, float16, or auto: float32 on a CPU, elsewhere as the folder says.",
        "bfloat16",
    ),
    "quantization": (
        "A transformers folder: weights in int8 (package torchao) or nf4 (packages bitsandbytes, accelerate).",
        "int8",
    ),
    "trust": ("A transformers folder: its own code may run, and its weights be read from a pickle.", False),
    "think": (
        "How much it thinks before it answers: on, off, low, medium or high, as far as its template knows them.",
        "off",
    ),
    "template": ("A chat template, instead of the one that the model brings.", "/path/of/template.jinja"),
    "template_options": ("What else the chat template may name.", {"NAME": "value"}),
    "temperature": ("This model's own defaults for sampling.", 0.7),
    "top_p": ("", 0.95),
    "top_k": ("", 40),
    "min_p": ("", 0.05),
    "tier": ("How good it is, and how dear: premium, standard or economy.", "standard"),
    "tags": ("Words of yours about it.", ["code"]),
    "price_in": ("Money per million tokens of a prompt, of what was computed before, and of an answer.", 0.15),
    "price_cached": ("", 0.075),
    "price_out": ("", 0.6),
    "keep_alive": ("How long it stays loaded unused; 15m. 0: not at all, -1: for ever.", "1h"),
    "pin": ("Never unloaded to make room, and loaded when the hub starts.", True),
    "preload": ("Loaded when the hub starts.", True),
    "load_ms": ("echo only: milliseconds to load, the memory it says it holds,", 500.0),
    "takes": ("", "512M"),
    "first_ms": ("milliseconds before the first token, and per step; and how it fails.", 100.0),
    "token_ms": ("", 10.0),
    "fail": ("load, crash or error.", "error"),
}


def text() -> str:
    """Decodes to exactly the defaults: every key stands commented out, at its default or as an example."""
    parts = [
        "# llmctl's configuration. `llmctl config path` says where it belongs, `llmctl config check` reads it.",
        "# A variable LLMCTL_SECTION__KEY wins over the file: LLMCTL_CACHE__ENABLED=false.",
        "# Durations read 90s 15m 2h 7d, sizes 512M 4G.",
    ]
    for name, section in sections(Config()):
        parts += ["", f"# {SECTIONS[name]}", f"[{name}]"]
        for key in keys(section):
            parts += _entry(KEYS[f"{name}.{key}"], key, getattr(section, key), _sample(name, key))
    parts += ["", "# Settings of one model, by its name.", "# [models.NAME]"]
    for key in ModelSettings.__struct_fields__:
        comment, sample = SETTINGS[key]
        parts += [*([f"# {comment}"] if comment else []), f"# {key} = {toml(sample)}"]
    return "\n".join(parts) + "\n"


def _sample(section: str, key: str) -> Any:
    """What stands for a key without a default."""
    samples = {"model": "NAME", "embedding_model": "NAME", "user": "NAME", "timeout": "10m", "temperature": 0.7}
    samples |= {"shared_url": "redis://HOST:6379/0", "ttl": Duration(7 * 86400), "judge": "NAME", "min_similarity": 0.9}
    samples |= {"memory_bytes": Size(16 * 2**30), "gpu_memory_bytes": Size(20 * 2**30), "max_replicas": 4}
    return samples.get(key) or SETTINGS.get(key, ("", 0))[1]


def _entry(comment: str, key: str, default: Any, sample: Any) -> list[str]:
    value = toml(sample if default is None else default)
    return [f"# {comment}", f"# {key} = {value}"]


def toml(value: Any) -> str:
    """A setting as TOML writes it; a duration and a size in the largest unit that divides them."""
    if isinstance(value, Duration):
        return f'"{_unit(value, (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)))}"'
    if isinstance(value, Size):
        return f'"{_unit(value, (("G", 2**30), ("M", 2**20), ("K", 2**10), ("", 1)))}"'
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    return msgspec.json.encode(value).decode()


def _unit(value: float, units: tuple[tuple[str, int], ...]) -> str:
    for name, size in units:
        if value and value % size == 0:
            return f"{int(value // size)}{name}"
    return f"{float(value):g}{units[-1][0]}"
