"""When the library gives up by itself: its words go to the engine's log, where the hub looks for them.

It starts no debugger for a backtrace, as the library would; the signal that follows is the hub's to hear.
"""

import ctypes
import sys

import llama_cpp.llama_cpp as lib

_kept: list[object] = []
"""The library calls it for as long as the process lives."""


def listen() -> None:
    """From now on."""

    def hear(words: bytes) -> None:
        sys.stderr.write(f"llama.cpp aborts: {words.decode(errors='replace').strip()}\n")
        sys.stderr.flush()

    callback = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(hear)
    _kept.append(callback)
    register = lib._lib.ggml_set_abort_callback
    register.restype, register.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    register(ctypes.cast(callback, ctypes.c_void_p))
