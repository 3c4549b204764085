"""The eviction policies of `cache.eviction`, by name. They know keys and sizes, not contents.

docs/architecture.md, "Recipes", tells how to add one.
"""

from collections.abc import Callable

from llmctld.cache.eviction.frequency import S3Fifo, WTinyLfu
from llmctld.cache.eviction.policy import Item, Policy
from llmctld.cache.eviction.recency import Lru, Sieve
from llmctld.cache.eviction.value import Gdsf
from llmctld.cache.eviction.weighted import Weighted

__all__ = ["POLICIES", "Item", "Policy"]

POLICIES: dict[str, Callable[[int], Policy]] = {
    "gdsf": lambda limit: Gdsf(),
    "lru": lambda limit: Lru(),
    "sieve": lambda limit: Sieve(),
    "s3fifo": S3Fifo,
    "wtinylfu": WTinyLfu,
    "weighted": lambda limit: Weighted(),
}
"""Policy name -> what makes the policy of a level, given the size of the level in bytes."""
