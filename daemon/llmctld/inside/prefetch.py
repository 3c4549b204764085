"""How prefetch computes an answer in advance: the kept request is made once more, where that costs no user anything.

It loads no model on this machine, and a user's request cancels it.
"""

from collections.abc import Awaitable, Callable

from llmctl.errors import ModelUnavailable
from llmctl.wire import Answer
from llmctld.cache.prefetch.prefetch import Computed, NotNow
from llmctld.call.again import from_bytes
from llmctld.call.call import GaveWay
from llmctld.call.origin import Purpose, origin_of
from llmctld.inside.background import Background
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.catalogue.target import REMOTE
from llmctld.models.running.residency import Residency


def computing(
    background: Background,
    residency: Residency,
    catalog: Catalog,
    expires: Callable[[str], Awaitable[float | None]],
) -> Callable[[bytes], Awaitable[Computed | None]]:
    """What prefetch calls with a kept request. `expires`: when the answer stored under a key ends."""

    async def compute(body: bytes) -> Computed | None:
        """None where a user's request cancelled it; raises NotNow where it could not be tried."""
        kept = from_bytes(body)
        try:
            entry = catalog.choose(kept.request.model, "text")
            elsewhere = entry.backend == REMOTE  # loading it costs this machine nothing
            if background.ended or not (elsewhere or residency.is_loaded(entry)):
                raise NotNow
            result = await background.generate(
                kept.request, origin_of(kept.request, Purpose.PREFETCH), messages=kept.messages, load=elsewhere
            )
        except ModelUnavailable as error:
            raise NotNow from error
        except GaveWay:
            return None
        first = result if isinstance(result, Answer) else result.answers[0]
        if first.cache.hit is not None or first.cache.key is None:
            raise NotNow  # a user's request was computing it, or it was stored already
        return Computed(first.cache.key, await expires(first.cache.key))

    return compute
