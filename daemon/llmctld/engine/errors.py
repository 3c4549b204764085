"""The two errors of an engine: a model cannot be loaded, or one request cannot be computed; and which exceptions are neither."""

EXITS = (KeyboardInterrupt, SystemExit, GeneratorExit)
"""Exits of the interpreter. Anything else that is raised during a request is an error of that request, also if it is no
Exception: a panic in a library written in Rust (tokenizers, llguidance) is a BaseException."""


class LoadError(Exception):
    """The model cannot be loaded. `hint`: what to do next."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Refusal(Exception):
    """One request cannot be computed. `code`: an error code of llmctl.errors."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint
