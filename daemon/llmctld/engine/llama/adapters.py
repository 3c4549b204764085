"""LoRA adapters of one model: loaded on first use, applied to one step at a time.

The scheduler decides which requests share a step.
"""

import ctypes
from typing import Any

import llama_cpp.llama_cpp as lib

from llmctld.engine.errors import Refusal
from llmctld.engine.messages import Adapter


class Adapters:
    def __init__(self, model: Any) -> None:
        self._model = model
        self._known: dict[tuple[str, str], Any] = {}
        self._in_force: tuple[Adapter, ...] = ()

    def known(self, adapter: Adapter) -> Any:
        """The adapter in that file, loaded once, and again if the file changed. Raises Refusal if it does not fit this model."""
        key = (adapter.path, adapter.identity)
        if key not in self._known:
            found = lib.llama_adapter_lora_init(self._model, adapter.path.encode())
            if not found:
                message = f"llama.cpp cannot use {adapter.path} as an adapter of this model"
                raise Refusal("model_unavailable", message, "Is it a LoRA adapter in GGUF format, made for this model?")
            self._known[key] = found
        return self._known[key]

    def use(self, context: Any, adapters: tuple[Adapter, ...]) -> None:
        """Compute with exactly these adapters from now on. Raises Refusal if the library refuses."""
        if adapters == self._in_force:
            return
        count = len(adapters)
        handles = (lib.llama_adapter_lora_p_ctypes * count)(*(self.known(adapter) for adapter in adapters))
        scales = (ctypes.c_float * count)(*(adapter.scale for adapter in adapters))
        if lib.llama_set_adapters_lora(context, handles, count, scales) != 0:
            names = ", ".join(adapter.path for adapter in adapters)
            raise Refusal("model_unavailable", f"llama.cpp refused to compute with {names}", "Omit the adapter.")
        self._in_force = adapters
