"""llmctl: run language models on your own machine, from the shell and from Python.

Importing this package takes a few milliseconds; `Client` and the errors are loaded on first use.
"""

from importlib import import_module

TYPE_CHECKING = False  # known to type checkers; importing the name would import `typing`

__version__ = "0.1.0"

if TYPE_CHECKING:
    from llmctl.client import Client as Client
    from llmctl.errors import LlmctlError as LlmctlError

__all__ = ["Client", "LlmctlError", "__version__"]


def __getattr__(name: str) -> object:
    if name.startswith("_") or name.islower():  # a submodule or a dunder that Python looks for
        raise AttributeError(f"module 'llmctl' has no attribute {name!r}")
    home = import_module("llmctl.client" if name == "Client" else "llmctl.errors")
    return getattr(home, name)
