"""What goes when a level is full: the policies of `cache.eviction` by name. They know keys and sizes, and no values."""

from collections.abc import Callable

from llmctld.cache.eviction.policy import Item, Policy
from llmctld.cache.eviction.recency import Lru
from llmctld.cache.eviction.value import Gdsf

__all__ = ["POLICIES", "Item", "Policy"]

POLICIES: dict[str, Callable[[int], Policy]] = {
    "gdsf": lambda limit: Gdsf(),
    "lru": lambda limit: Lru(),
}
"""Made with the bytes of the level that they decide for."""
