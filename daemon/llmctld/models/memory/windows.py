"""Which layers of a model look back a window only, and how far: as llama.cpp has it for each architecture.

It reads a header's numbers, and knows nothing of what is kept for such a layer.
"""

from typing import NamedTuple

from llmctld.models.catalogue.header import Header


class Kind(NamedTuple):
    """Every `every`-th layer looks back whole, the `first` or the last of so many; `tokens`, where the file names none."""

    every: int
    first: bool = False
    tokens: int = 0


KINDS = {
    "afmoe": Kind(4), "cohere2": Kind(4), "cohere2moe": Kind(4, True), "exaone-moe": Kind(4), "exaone4": Kind(4),
    "gemma2": Kind(2, tokens=4096), "gemma3": Kind(6), "gemma3n": Kind(5), "gpt-oss": Kind(2), "laguna": Kind(4, True),
    "llama4": Kind(4, tokens=8192), "mellum": Kind(4), "olmo2": Kind(4), "plamo3": Kind(8), "smallthinker": Kind(4, True),
}  # fmt: skip
"""The rule of an architecture, where the file has none of its own. One that is not here is taken to look back whole."""


def window(header: Header, layers: int) -> tuple[int, list[bool]]:
    """How many tokens it has, and for each layer whether it looks back no further; 0 where none does."""
    architecture = str(header.values.get("general.architecture", ""))
    kind = KINDS.get(architecture)
    found = header.values.get(f"{architecture}.attention.sliding_window", kind.tokens if kind else 0)
    tokens = int(found) if isinstance(found, int | float) else 0
    name = f"{architecture}.attention.sliding_window_pattern"
    if listed := header.lists.get(name):
        looks = [bool(each) for each in listed]
    elif kind is not None:
        every = int(header.values.get(name, kind.every))
        looks = [every == 0 or layer % every != (0 if kind.first else every - 1) for layer in range(layers)]
    else:
        looks = []
    looks = (looks + [False] * layers)[:layers]
    return (tokens, looks) if tokens > 0 and any(looks) else (0, [False] * layers)
