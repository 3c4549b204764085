"""What computing an answer once more would cost, for the eviction: the seconds that it took, and its price where it has one."""

from collections.abc import Callable
from decimal import Decimal

from llmctl.errors import LlmctlError
from llmctld.cache.level import Stored
from llmctld.models.catalogue.catalog import Catalog

SECONDS_PER_UNIT = 3600.0
"""A unit of money counts like an hour of computing, so that priced and unpriced models can be compared."""


def worth(catalog: Catalog) -> Callable[[Stored], float]:
    """Of an answer, in seconds. A model that is gone, or has no price, costs what it took."""

    def of(answer: Stored) -> float:
        try:
            settings = catalog.settings(catalog.find(answer.model))
        except LlmctlError:
            return answer.seconds
        each = [answer.usage, *(one.usage for one in answer.more)]
        prompt = answer.usage.prompt_tokens * (settings.price_in or Decimal(0))
        completion = sum(usage.completion_tokens for usage in each) * (settings.price_out or Decimal(0))
        return answer.seconds + float(prompt + completion) / 1e6 * SECONDS_PER_UNIT

    return of
