"""Which answers may be stored and which stored answers may be served, as a request and the settings say.

It looks at these two alone: not at what is stored.
"""

from llmctl.config import Cache
from llmctl.wire import Generate


def repeatable(request: Generate) -> bool:
    """Whether the answer may be served to the next equal request. A temperature above 0 without a seed asks for variety."""
    return not request.temperature or request.seed is not None


def is_stored(request: Generate, settings: Cache) -> bool:
    """Whether the answer is stored."""
    return request.cache == "store" or (request.cache != "skip" and settings.enabled and repeatable(request))


def similar_will_do(request: Generate, settings: Cache) -> bool:
    """Whether the stored answer to a similar question may be served, provided that the cache may serve the request at all."""
    enabled = settings.semantic.enabled if request.semantic is None else request.semantic
    return enabled and request.tokens is None and request.logprobs is None and not several(request)


def several(request: Generate) -> bool:
    """Whether it asks for more than one sample."""
    return (request.n or 1) > 1
