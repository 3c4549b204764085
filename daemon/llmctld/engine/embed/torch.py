"""An embedding model in a sentence-transformers folder, computed by that library on torch, with its pooling and prompts."""

import os
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from llmctl.regular import read_json
from llmctld.engine.core.step_threads import step
from llmctld.engine.cost.threads import Threads
from llmctld.engine.embed.loop import Reading, Vectors, too_long, unknown_prompt
from llmctld.engine.errors import EXITS, LoadError, Refusal
from llmctld.engine.fit import mebibytes
from llmctld.engine.hf import device as torch_device
from llmctld.engine.messages import Load, Loaded

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}  # both are read at import
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Normalize

UNBOUNDED = 2**20
"""Token limit of a text if the model has none: a bag of words has no positions."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt")


class TorchEmbedder:
    """Implements embed.Embedder."""

    def __init__(self, load: Load) -> None:
        torch.set_num_threads(load.threads)
        device = torch_device.choose(load)
        self._threads = Threads(load.threads, load.fewer_threads and device.type == "cpu")
        _check(load, torch_device.room(load, device))
        self._model = _read(load, device)
        self._model.prompts |= load.prompts
        marked = _read_as_text(self._model.tokenizer, self._model.prompts)
        self._normalize = bool(load.normalize)
        if load.normalize is False:
            _without_normalization(self._model)
        own = _bound(self._model)
        if load.context and load.context > own:
            message = (
                f"{load.name}: `context` is {load.context}, but the model in {load.path} accepts at most {own} tokens"
            )
            raise LoadError(message, "Set a smaller `context`.")
        context = load.context or own
        self._texts = load.slots
        self._rows = _rows(self._model)
        self.batch_tokens = max(load.slots * load.batch, context)
        size = _bytes(self._model)
        self.loaded = Loaded(
            backend="sentence-transformers", context=context, slots=load.slots, memory_bytes=size,
            gpu_bytes=0 if device.type == "cpu" else size, devices=[str(device)],
            dimension=len(self._encode(["a"], "")[0]),
            notices=[*torch_device.notices(load, device), *(f"{load.name}: {words}" for words in marked)],
        )  # fmt: skip

    def read(self, text: str, prompt: str | None) -> Reading:
        """Counted with its prompt: the library would cut what exceeds its limit."""
        if prompt is not None and prompt not in self._model.prompts:
            raise unknown_prompt(prompt, list(self._model.prompts))
        name = prompt or self._model.default_prompt_name
        before = (self._model.prompts[name] or "") if name else ""
        tokens = _tokens(self._model.tokenizer, before + text)
        if len(tokens) > self.loaded.context:
            raise too_long(len(tokens), self.loaded.context)
        if tokens and (last := max(tokens)) >= self._rows:
            message = (
                f"the text contains a token with the id {last}, but this model knows only the ids 0 to {self._rows - 1}"
            )
            raise Refusal(
                "invalid_request",
                message,
                "The folder's tokenizer does not match its weights: download the folder again.",
            )
        return Reading(text, tokens, before)

    def embed(self, readings: Sequence[Reading]) -> Vectors:
        """The library takes one prompt at a time and may exclude it from pooling, so it must be told the prompt."""
        vectors = np.empty((len(readings), self.loaded.dimension), np.float32)
        rows: dict[str, list[int]] = defaultdict(list)
        for row, reading in enumerate(readings):
            rows[reading.prompt].append(row)
        for prompt, places in rows.items():
            texts, tokens = [readings[row].text for row in places], sum(len(readings[row].tokens) for row in places)
            encode = partial(self._encode, texts, prompt)
            vectors[places] = step(self._threads, torch.set_num_threads, 1, tokens, encode)
        return vectors

    def _encode(self, texts: list[str], prompt: str) -> Vectors:
        vectors: Vectors = self._model.encode(
            texts, prompt=prompt, batch_size=self._texts, show_progress_bar=False, convert_to_numpy=True,
            normalize_embeddings=self._normalize,
        )  # fmt: skip
        return vectors


def _check(load: Load, room: int) -> None:
    """Raises LoadError for weights in a pickle, which may run code, and for a model that is too large."""
    folder = Path(load.path)
    try:
        modules = read_json(folder / "modules.json", list[dict[str, Any]])
        places = [folder / str(module.get("path", "")) for module in modules]
        files = [file for place in places if place.is_dir() for file in place.iterdir()]
    except (OSError, ValueError) as error:
        raise LoadError(
            f"{load.name}: {folder / 'modules.json'} cannot be read: {error}", "Check the folder."
        ) from error
    safe = {file.parent for file in files if file.suffix == ".safetensors"}
    for file in files:
        if file.suffix in PICKLES and file.parent not in safe:
            message = f"{load.name}: the weights in {file} are a pickle, which may run code when it is read"
            raise LoadError(message, "Use a version of this model with safetensors, or convert it.")
    size = sum(file.stat().st_size for file in files if file.suffix == ".safetensors")
    if size > room:
        message = f"{load.name} does not fit in memory: its weights have {mebibytes(size)}, "
        raise LoadError(message + f"but may use only {mebibytes(room)}", "Use a smaller model.")


def _read(load: Load, device: torch.device) -> SentenceTransformer:
    """float32 on a CPU, where half precision is slower; elsewhere the folder's type. Code in the folder is never run."""
    dtype = torch.float32 if device.type == "cpu" else "auto"
    try:
        return SentenceTransformer(
            load.path, device=str(device), local_files_only=True, trust_remote_code=False,
            model_kwargs={"dtype": dtype, "use_safetensors": True},
        )  # fmt: skip
    except EXITS:
        raise
    except BaseException as error:
        message = f"{load.name}: sentence-transformers cannot load {load.path}: {type(error).__name__}: {error}"
        raise LoadError(message, "The folder may be damaged or incomplete: download it again.") from error


def _read_as_text(tokenizer: Any, prompts: dict[str, str | None]) -> list[str]:
    """Treat names of control tokens as text from now on. Returns notices: prompts of the model that contain some."""
    if not hasattr(tokenizer, "split_special_tokens"):
        tokenizer.encode_special_tokens = True
        return []
    tokenizer.split_special_tokens = True
    found = {
        name: [token for token in tokenizer.all_special_tokens if token in (text or "")]
        for name, text in prompts.items()
    }
    return [
        f"the prompt {name!r} contains {tokens[0]}, which is read as text" for name, tokens in found.items() if tokens
    ]


def _bound(model: SentenceTransformer) -> int:
    found = model.get_max_seq_length()
    return int(found) if found is not None and found < UNBOUNDED else UNBOUNDED


def _rows(model: SentenceTransformer) -> int:
    """Rows of the embedding table; UNBOUNDED if there is none."""
    inner: Any = getattr(model[0], "auto_model", None)
    return UNBOUNDED if inner is None else int(inner.get_input_embeddings().weight.shape[0])


def _without_normalization(model: SentenceTransformer) -> None:
    for name, module in list(model.named_children()):
        if isinstance(module, Normalize):
            delattr(model, name)


def _tokens(tokenizer: Any, text: str) -> Sequence[int]:
    """All tokens, from a transformers tokenizer or a bag-of-words one."""
    if callable(tokenizer):
        found: Sequence[int] = tokenizer(text, truncation=False, verbose=False)["input_ids"]
        return found
    plain: Sequence[int] = tokenizer.encode(text).ids
    return plain


def _bytes(model: SentenceTransformer) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))
