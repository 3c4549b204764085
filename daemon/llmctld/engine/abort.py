"""When the library gives up by itself: its words go to the log, and memory that ran out is told apart from a crash.

It knows what the library says as it aborts, and starts no debugger for a backtrace; the signal that follows is the hub's to hear.
"""

import ctypes
import os
import sys
from collections.abc import Callable

import llama_cpp.llama_cpp as lib

from llmctld.engine import native_log
from llmctld.engine.weights import REFUSED

_kept: list[object] = []
"""The library calls the last one for as long as the process lives."""


def listen(out_of_memory: Callable[[str], None]) -> None:
    """From now on. `out_of_memory` hears the library's words, and ends the process."""

    def hear(words: bytes) -> None:
        said = words.decode(errors="replace").strip()
        sys.stderr.write(f"llama.cpp aborts: {said}\n")
        sys.stderr.flush()
        told = [line for line in (said, *native_log.errors) if REFUSED.search(line)]
        if told:
            out_of_memory(told[0])
            os._exit(1)

    callback = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(hear)
    _kept.append(callback)
    register = lib._lib.ggml_set_abort_callback
    register.restype, register.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    register(ctypes.cast(callback, ctypes.c_void_p))
