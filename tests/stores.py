"""Lays out the stores of other programs in a home folder, with files as their sources write them.

It knows the layouts that `llmctl/stores/` names with their sources, and nothing of llmctl.
"""

import hashlib
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

COMMIT = "0123456789abcdef0123456789abcdef01234567"
KIND = "application/vnd.ollama.image."
HOST = "registry.ollama.ai"


def gguf(
    architecture: str = "llama", *, file_type: int = 15, mark: str = "", weights: bool = True, **more: str
) -> bytes:
    """The smallest file that is a GGUF model by its header, with one small tensor. `mark` tells two of them apart; `more`: texts
    under `general.`. With `tokenizer=""` it has no tokenizer."""
    texts = {
        "general.architecture": architecture,
        "general.name": mark,
        "tokenizer.ggml.model": more.pop("tokenizer", "gpt2"),
    }
    texts |= {f"general.{key}": value for key, value in more.items()}
    numbers = {"general.file_type": file_type}
    if architecture != "clip":
        numbers |= {f"{architecture}.{key}": value for key, value in SIZES.items()}
    pairs = [(key, 8, _text(value)) for key, value in texts.items() if value or not key.startswith("tokenizer")]
    pairs += [(key, 4, struct.pack("<I", value)) for key, value in numbers.items()]
    values = b"".join(_text(key) + struct.pack("<I", kind) + value for key, kind, value in pairs)
    tensor = _text("token_embd.weight") + struct.pack("<IQIQ", 1, 32, 0, 0)
    header = b"GGUF" + struct.pack("<IQQ", 3, 1 if weights else 0, len(pairs)) + values + (tensor if weights else b"")
    return header + bytes(-len(header) % 32 + 128)


SIZES = {
    "block_count": 2, "context_length": 512, "embedding_length": 64, "feed_forward_length": 128, "attention.head_count": 2,
}  # fmt: skip


def _text(value: str) -> bytes:
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def write(path: Path, content: bytes | str | Mapping[str, Any] = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def folder_model(path: Path, config: Mapping[str, Any] | None = None) -> Path:
    """A folder of transformers with one small tensor."""
    given = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_size": 64,
             "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 256}  # fmt: skip
    write(path / "config.json", config or given)
    write(path / "tokenizer.json", "{}")
    header = json.dumps({"a": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}}).encode()
    write(path / "model.safetensors", struct.pack("<Q", len(header)) + header + bytes(8))
    return path


# ---- Hugging Face -------------------------------------------------------------------------------------------------------


def snapshot(hub: Path, repo: str, files: Mapping[str, bytes], commit: str = COMMIT, main: bool = True) -> Path:
    """A repository of the cache: blobs by their hash, and links to them."""
    repository = hub / f"models--{repo.replace('/', '--')}"
    place = repository / "snapshots" / commit
    for name, content in files.items():
        blob = write(repository / "blobs" / hashlib.sha256(content).hexdigest(), content)
        link = place / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    if main:
        write(repository / "refs" / "main", commit)
    return place


# ---- ollama -------------------------------------------------------------------------------------------------------------


class Ollama:
    """A store of ollama."""

    def __init__(self, store: Path) -> None:
        self.store = store

    def manifest(self, name: str, host: str = HOST) -> Path:
        """`name`: NAMESPACE/MODEL/TAG."""
        return self.store / "manifests" / host / name

    def blob(self, content: bytes) -> Path:
        return self.store / "blobs" / f"sha256-{hashlib.sha256(content).hexdigest()}"

    def pull(self, name: str, host: str = HOST, **layers: bytes) -> Path:
        """Writes a model with these layers (model, params, system, adapter, ...). Returns the file of the layer `model`."""
        listed = []
        for kind, content in layers.items():
            digest = hashlib.sha256(write(self.blob(content), content).read_bytes()).hexdigest()
            listed.append({"mediaType": KIND + kind, "digest": f"sha256:{digest}", "size": len(content)})
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        config = {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": f"sha256:{'0' * 64}",
            "size": 2,
        }
        manifest = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": listed}
        write(self.manifest(name, host), manifest)
        return self.blob(layers.get("model", b""))
