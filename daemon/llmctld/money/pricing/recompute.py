"""What computing a stored answer again would cost, for eviction: the seconds it took, plus its price where the model has one."""

from collections.abc import Callable

from llmctl.errors import LlmctlError
from llmctl.wire import TokenUsage
from llmctld.cache.level import Stored
from llmctld.models.catalogue.catalog import Catalog
from llmctld.money.pricing.amounts import UNIT
from llmctld.money.pricing.price_list import PriceList
from llmctld.money.pricing.prices import Use

SECONDS_PER_UNIT = 3600.0
"""One dollar, euro or whatever the currency is counts as much as an hour of computing, so that priced and unpriced models can be
compared."""


def recompute_price(catalog: Catalog, prices: PriceList) -> Callable[[Stored], float | None]:
    """Price of computing an answer again. None without a model or a price."""

    def price(answer: Stored) -> float | None:
        try:
            entry = catalog.find(answer.first.model)
        except LlmctlError:
            return None
        usage = answer.first.usage
        completion = sum(each.usage.completion_tokens for each in answer.answers)
        use = Use(TokenUsage(usage.prompt_tokens, 0, completion), answer.seconds)
        total = prices.of(entry).parts(use).total
        return None if total is None else total / UNIT

    return price


def recompute_cost(price: Callable[[Stored], float | None]) -> Callable[[Stored], float]:
    """Cost of an answer in seconds: those that computing took, and an hour for each unit of money."""
    return lambda answer: answer.seconds + (price(answer) or 0) * SECONDS_PER_UNIT
