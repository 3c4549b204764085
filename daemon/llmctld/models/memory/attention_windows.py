"""Which layers of a model use sliding-window attention, and the window's size, as llama.cpp defines it per
architecture.

Reads numbers of a header only.
"""

from typing import NamedTuple

from llmctld.models.catalogue.header import Header


class WindowRule(NamedTuple):
    """In each block of `every` layers the `first` or the last one attends to the whole context. `tokens`: window size
    if the file has none.
    """

    every: int
    first: bool = False
    tokens: int = 0


RULES = {
    "afmoe": WindowRule(4), "cohere2": WindowRule(4), "cohere2moe": WindowRule(4, True), "exaone-moe": WindowRule(4),
    "exaone4": WindowRule(4), "gemma2": WindowRule(2, tokens=4096), "gemma3": WindowRule(6), "gemma3n": WindowRule(5),
    "gpt-oss": WindowRule(2), "laguna": WindowRule(4, True), "llama4": WindowRule(4, tokens=8192),
    "mellum": WindowRule(4), "olmo2": WindowRule(4), "plamo3": WindowRule(8), "smallthinker": WindowRule(4, True),
}  # fmt: skip
"""Architecture -> rule, used if the file has none. An architecture not listed here has no sliding window."""


def window(header: Header, layers: int) -> tuple[int, list[bool]]:
    """Window size in tokens, 0 for none, and for each layer whether it uses the window."""
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
