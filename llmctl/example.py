"""The text of config.example.toml, generated from the configuration's structs, so that the two always agree.

It holds a sentence about each setting; what a setting does is decided where it is read.
"""

from typing import Any

import msgspec

from llmctl.config import SEARCH, Config, Duration, ModelSettings, Size, keys, sections

SECTIONS = {
    "defaults": "Defaults for options that are not given.",
    "limits": "Limits of the hub.",
    "cache": "The stored answers.",
    "cache.semantic": "The semantic cache: answers to questions of the same meaning; `--semantic` turns it on for one request.",
    "cache.prefetch": "Prefetch: computing likely next requests while the hub is idle.",
    "resources": "Sharing memory between models.",
    "history": "The history of requests.",
    "money": "What computing costs. A model with prices of its own has them under [models.NAME].",
    "templates": "Prompt templates.",
    "logs": "The hub's log.",
}
KEYS = {
    "defaults.model": "Model of requests that name none. Default: the first added.",
    "defaults.embedding_model": "Embedding model of requests that name none. Default: the first added, else all-MiniLM-L6-v2.",
    "defaults.guide": "Whether the built-in guide answers `llmctl ask` while no model has been added.",
    "defaults.user": "User to record requests under. Default: the OS user.",
    "defaults.timeout": "Time limit for a whole request, such as 90s. Default: none.",
    "defaults.max_tokens": "Maximum length of an answer in tokens.",
    "defaults.temperature": "Sampling temperature, 0 to 2; 0 is greedy. Default: from the model's file, else 0.7.",
    "defaults.top_p": "Nucleus sampling: keep tokens up to this total probability. Default: the model's, else 0.9.",
    "defaults.top_k": "Keep this many of the most likely tokens. Default: the model's, else 40.",
    "defaults.min_p": "Drop tokens less likely than this share of the most likely one. Default: the model's, else 0.05.",
    "limits.queue": "Requests that may wait for one model; more are refused with status 10.",
    "limits.per_client": "Requests of one client, one connection, that may be under way; more are refused with status 10.",
    "limits.prompt_bytes": "Maximum size of the text of a request.",
    "limits.memory_bytes": "Host memory for all loaded models. Default: 80 % of the memory of the machine or its control group.",
    "limits.gpu_memory_bytes": "Memory of each GPU for all loaded models. Default: 90 % of the GPU's memory.",
    "cache.enabled": "Whether answers are stored and served again.",
    "cache.memory_bytes": "Size of the cache in memory.",
    "cache.disk_bytes": "Size of the cache on disk.",
    "cache.shared_url": "Address of a Redis or Valkey server through which machines share answers.",
    "cache.ttl": "Lifetime of stored answers. Default: predicted for each; 30 days until there is data.",
    "cache.eviction": "Eviction policy: gdsf (least value per byte first), lru, sieve, s3fifo, wtinylfu or weighted.",
    "cache.scope": "Request fields that must match for a stored answer to be shared; [] shares with every user.",
    "cache.prefix_memory_bytes": "Host memory of each engine for computed prefixes that no longer fit in its KV cache.",
    "cache.prefix_disk_bytes": "Disk space of each model for such prefixes; they survive a restart. 0: none.",
    "cache.semantic.enabled": "Whether the semantic cache is on for every request.",
    "cache.semantic.max_error": "Maximum share of wrong answers among all requests that use the semantic cache.",
    "cache.semantic.judge": "Model that compares two answers. Default: the one that wrote them; none: only equal answers match.",
    "cache.semantic.model": "Embedding model. Default: as for `llmctl embed`.",
    "cache.semantic.min_similarity": "Minimum similarity of two questions; below it no answer is served.",
    "cache.semantic.neighbours": "Number of stored questions to compare with each request.",
    "cache.prefetch.enabled": "Whether prefetch is on.",
    "cache.prefetch.budget_per_hour": "Maximum number of prefetched answers per hour.",
    "resources.max_wait": "How long a request waits for memory before a busy model is unloaded for it.",
    "resources.load_timeout": "Time without progress (nothing read, no memory filled) after which a load is ended.",
    "resources.max_replicas": "Maximum processes of one model (`models load --replicas`). Default: the number of cores.",
    "history.durability": "Requests that a power cut may lose. normal: the last seconds; full: none, each waits for the disk.",
    "money.currency": "Currency of all prices, as a code of ISO 4217.",
    "money.machine_per_hour": "Price of an hour in which this machine computes. Default: none.",
    "money.energy_per_kwh": "Price of a kilowatt hour, if the machine measures its energy. Default: none.",
    "templates.read_allow": "Files and folders that templates may read, besides their own folder and the current one.",
    "logs.level": "debug, info, warning or error.",
    "logs.max_bytes": "Size at which the log file is rotated.",
    "logs.files": "Number of rotated log files to keep.",
}
SETTINGS = {
    "context": ("Context size in tokens for one request. Default: from the file, at most 8192.", 4096),
    "slots": ("Requests that run at the same time. Default: 4 (endpoints: 16).", 4),
    "retained": (
        "Idle streams of the KV cache that keep prefixes of earlier requests. Default: as many as `slots`, if memory allows.",
        4,
    ),
    "threads": (
        "Threads of the engine. Default: the physical cores it may use, fewer while other programs need them.",
        4,
    ),
    "gpu_layers": ("Layers on the GPU. Default: all that fit.", 0),
    "device": ("Device: auto (default), cpu, cuda, cuda:N, mps, vulkan or xpu.", "cuda:0"),
    "tensor_split": ("Proportion of the layers on each GPU. Default: by free memory.", [3, 1]),
    "kv_type": ("Type of the KV cache: f16 (default), f32, bf16, q8_0, q5_1, q5_0, q4_1 or q4_0.", "f16"),
    "flash_attention": ("Flash attention: faster, with coarser rounding. Default: llama.cpp decides.", True),
    "batch": ("Maximum number of tokens computed in one step. Default: 512.", 512),
    "adapters": ("LoRA adapters for `--adapter NAME`: the GGUF file of each name.", {"NAME": "/path/of/adapter.gguf"}),
    "speculation": ("Speculative decoding from repeated text: ngram (default) or off. Answers do not change.", "ngram"),
    "pooling": ("Embeddings: pooling of token vectors: mean, cls or last. Default: from the file.", "mean"),
    "normalize": ("Embeddings: scale vectors to length 1. Default: from the folder; true for a GGUF file.", True),
    "prompts": ("Embeddings: texts that `--prompt NAME` puts before each text.", {"query": "search_query: "}),
    "draft": (
        "Draft model for speculative decoding: the GGUF file of a smaller model with the same vocabulary.",
        "/path/of/small.gguf",
    ),
    "remote_model": ("Endpoint: its name for the model. Default: its only model.", "ID"),
    "api_key_env": ("Endpoint: environment variable of the hub that holds the API key.", "OPENAI_API_KEY"),
    "retries": ("Endpoint: retries before the first token. Default: 3.", 3),
    "idle_s": ("Endpoint: seconds without data after which a request fails. Default: 300.", 300.0),
    "takes_grammar": ("Endpoint: it accepts `--grammar`, as llama-server does. Default: false.", True),
    "dtype": (
        "Transformers folder: number type: float32, bfloat16, float16 or auto (float32 on a CPU, else from the folder).",
        "bfloat16",
    ),
    "quantization": (
        "Transformers folder: weights in int8 (package torchao) or nf4 (packages bitsandbytes and accelerate).",
        "int8",
    ),
    "trust": ("Transformers folder: allow code in the folder to run, and weights to be read from a pickle.", False),
    "think": (
        "Default of `--think`: on, off, low, medium or high, if the chat template knows the level.",
        "off",
    ),
    "template": ("File with a chat template to use instead of the model's own.", "/path/of/template.jinja"),
    "template_options": ("Further variables for the chat template.", {"NAME": "value"}),
    "temperature": ("Sampling defaults of this model.", 0.7),
    "top_p": ("", 0.95),
    "top_k": ("", 40),
    "min_p": ("", 0.05),
    "tier": ("Quality and price class: premium, standard or economy.", "standard"),
    "tags": ("Labels.", ["code"]),
    "price_in": (
        "Prices per million tokens: of the prompt, of its part in the provider's cache, and of the answer.",
        0.15,
    ),
    "price_cached": ("", 0.075),
    "price_out": ("", 0.6),
    "machine_per_hour": (
        "Price of an hour of computing. Default: money.machine_per_hour if there are no token prices.",
        0.5,
    ),
    "overhead": ("Share that is added to it, and whether to token prices too (all).", 0.1),
    "overhead_on": ("", "machine"),
    "keep_alive": (
        "How long the model stays loaded without requests. Default: 15m. 0: unload after each answer; -1: forever.",
        "1h",
    ),
    "pin": ("Keep loaded: never unloaded to make room, and loaded when the hub starts.", True),
    "preload": ("Load when the hub starts.", True),
    "load_ms": ("echo only: milliseconds to load, memory it claims,", 500.0),
    "takes": ("", "512M"),
    "first_ms": ("milliseconds before the first token and per token, and a failure to simulate:", 100.0),
    "token_ms": ("", 10.0),
    "fail": ("load (cannot be loaded), crash (dies at the third token) or error (every request fails).", "error"),
}


def text() -> str:
    """A file that decodes to the defaults: every key is commented out, with its default or an example."""
    parts = [
        "# Configuration of llmctl. `llmctl config path` prints where this file belongs; `llmctl config check` checks it.",
        "# Environment variables LLMCTL_SECTION__KEY override the file: LLMCTL_CACHE__ENABLED=false.",
        "# Durations: 90s, 15m, 2h, 7d. Sizes: 512M, 4G.",
    ]
    for name, section in sections(Config()):
        parts += ["", f"# {SECTIONS[name]}", f"[{name}]"]
        for key in keys(section):
            parts += _entry(KEYS[f"{name}.{key}"], key, getattr(section, key), _sample(name, key))
    parts += ["", "# Folders that `llmctl models find` searches besides those of other programs."]
    parts += ["[models]", f"# {SEARCH.partition('.')[2]} = {toml(['/path/of/models'])}"]
    parts += ["", "# Settings of the model NAME.", "# [models.NAME]"]
    for key in ModelSettings.__struct_fields__:
        comment, sample = SETTINGS[key]
        parts += [*([f"# {comment}"] if comment else []), f"# {key} = {toml(sample)}"]
    return "\n".join(parts) + "\n"


def _sample(section: str, key: str) -> Any:
    """An example for a key without a default."""
    samples = {"model": "NAME", "embedding_model": "NAME", "user": "NAME", "timeout": "10m", "temperature": 0.7}
    samples |= {"shared_url": "redis://HOST:6379/0", "ttl": Duration(7 * 86400), "judge": "NAME", "min_similarity": 0.9}
    samples |= {"memory_bytes": Size(16 * 2**30), "gpu_memory_bytes": Size(20 * 2**30), "max_replicas": 4}
    return samples.get(key) or SETTINGS.get(key, ("", 0))[1]


def _entry(comment: str, key: str, default: Any, sample: Any) -> list[str]:
    value = toml(sample if default is None else default)
    return [f"# {comment}", f"# {key} = {value}"]


def toml(value: Any) -> str:
    """A setting in TOML; durations and sizes in the largest unit that divides them."""
    if isinstance(value, Duration):
        return f'"{_unit(value, (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)))}"'
    if isinstance(value, Size):
        return f'"{_unit(value, (("G", 2**30), ("M", 2**20), ("K", 2**10), ("", 1)))}"'
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + "}"
    return msgspec.json.encode(float(value) if isinstance(value, float) else value).decode()


def _unit(value: float, units: tuple[tuple[str, int], ...]) -> str:
    for name, size in units:
        if value and value % size == 0:
            return f"{int(value // size)}{name}"
    return f"{float(value):g}{units[-1][0]}"
