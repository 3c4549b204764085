"""The two errors of an engine: a model cannot be loaded, or one request cannot be computed."""


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
