"""The built-in model `guide`: its name, its file inside the package, and the settings with which it runs.

It does not know when the guide answers (`llmctld/pipeline/intake/guide.py`), nor what it was trained on.
"""

from functools import cache
from importlib.util import find_spec
from pathlib import Path

from llmctl.config import ModelEntry

NAME = "guide"
SETTINGS = {
    "slots": 4, "retained": 0, "threads": 1, "device": "cpu", "gpu_layers": 0, "speculation": "off", "temperature": 0.0,
}  # fmt: skip
"""One thread, and little memory. Temperature 0: its answers are commands, which must not vary."""
OFF = "`defaults.guide = false` in the configuration turns it off for requests that name no model."
"""The hint for a change that it does not take."""


@cache
def built_in() -> ModelEntry | None:
    """The guide as a model; None if its file is not installed. Finds the package of the hub without importing it."""
    hub = find_spec("llmctld")
    if hub is None or hub.origin is None:
        return None
    file = Path(hub.origin).parent / "guide" / "guide.gguf"
    return (
        ModelEntry(name=NAME, target=str(file), backend="llama.cpp", settings=dict(SETTINGS))
        if file.is_file()
        else None
    )
