"""Logs the library's message when it aborts, for the hub to read. No debugger is started for a backtrace, as the library
would."""

import ctypes
import sys

import llama_cpp.llama_cpp as lib

_kept: list[object] = []
"""Keeps the callback alive: the library may call it at any time."""


def listen() -> None:
    """Install the callback."""

    def hear(words: bytes) -> None:
        sys.stderr.write(f"llama.cpp aborts: {words.decode(errors='replace').strip()}\n")
        sys.stderr.flush()

    callback = ctypes.CFUNCTYPE(None, ctypes.c_char_p)(hear)
    _kept.append(callback)
    register = lib._lib.ggml_set_abort_callback
    register.restype, register.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    register(ctypes.cast(callback, ctypes.c_void_p))
