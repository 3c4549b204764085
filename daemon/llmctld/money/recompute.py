"""What computing a stored answer again would cost, for eviction: the seconds it took, plus its price where the model has one."""

from collections.abc import Callable
from decimal import Decimal

from llmctl.errors import LlmctlError
from llmctld.cache.level import Stored
from llmctld.models.catalogue.catalog import Catalog

SECONDS_PER_UNIT = 3600.0
"""One unit of money counts as much as an hour of computing, so that priced and unpriced models can be compared."""


def recompute_cost(catalog: Catalog) -> Callable[[Stored], float]:
    """Cost of an answer in seconds. Without a model or a price it is the seconds that computing took."""

    def cost(answer: Stored) -> float:
        try:
            settings = catalog.settings(catalog.find(answer.first.model))
        except LlmctlError:
            return answer.seconds
        prompt = answer.first.usage.prompt_tokens * (settings.price_in or Decimal(0))
        completion = sum(each.usage.completion_tokens for each in answer.answers) * (settings.price_out or Decimal(0))
        return answer.seconds + float(prompt + completion) / 1e6 * SECONDS_PER_UNIT

    return cost
