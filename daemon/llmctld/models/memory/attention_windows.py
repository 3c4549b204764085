"""Which layers of a model look back a window only, and how far: as llama.cpp has it for each architecture.

It reads a header's numbers, and knows nothing of what is kept for such a layer.
"""

from typing import NamedTuple

from llmctld.models.catalogue.header import Header


class WindowRule(NamedTuple):
    """Every `every`-th layer looks back whole, the `first` or the last of so many; `tokens`, where the file names none."""

    every: int
    first: bool = False
    tokens: int = 0


RULES = {
    "afmoe": WindowRule(4), "cohere2": WindowRule(4), "cohere2moe": WindowRule(4, True), "exaone-moe": WindowRule(4),
    "exaone4": WindowRule(4), "gemma2": WindowRule(2, tokens=4096), "gemma3": WindowRule(6), "gemma3n": WindowRule(5),
    "gpt-oss": WindowRule(2), "laguna": WindowRule(4, True), "llama4": WindowRule(4, tokens=8192),
    "mellum": WindowRule(4), "olmo2": WindowRule(4), "plamo3": WindowRule(8), "smallthinker": WindowRule(4, True),
}  # fmt: skip
"""The rule of an architecture, where the file has none of its own. One that is not here is taken to look back whole."""


def window(header: Header, layers: int) -> tuple[int, list[bool]]:
    """How many tokens it has, and for each layer whether it looks back no further; 0 where none does."""
    architecture = str(header.values.get("general.architecture", ""))
    kind = RULES.get(architecture)
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
