"""Published prices of hosted models, from the package `genai-prices` (the extra `prices`), which others keep up to date.

It works offline, with the prices that the installed version contains, in US dollars.
"""

import re
from datetime import datetime, timezone
from decimal import Decimal
from functools import lru_cache
from importlib import metadata
from typing import Any, NamedTuple

from llmctld.runtime.log import log

CURRENCY = "USD"


class Published(NamedTuple):
    """Prices per million tokens, and the version and date of the list that has them."""

    per_input: Decimal | None
    per_cached: Decimal | None
    per_output: Decimal | None
    source: str


@lru_cache(maxsize=256)
def published(address: str, model: str) -> Published | None:
    """The prices of a model of the endpoint at `address`; None if the list or the package is missing."""
    try:
        from genai_prices.data_snapshot import get_snapshot
    except ImportError:
        return None
    try:
        _, found = get_snapshot().find_provider_model(model, None, None, address)
        prices = found.get_prices(datetime.now(timezone.utc))
        comment = getattr(found, "price_comments", None) or ""
        return Published(
            _highest(prices.input_mtok),
            _highest(prices.cache_read_mtok),
            _highest(prices.output_mtok),
            _source(comment),
        )
    except LookupError:
        return None
    except Exception as error:  # noqa: BLE001 - a list of another version costs the price, never the answer
        log.warning("the package genai-prices cannot be read", error=f"{type(error).__name__}: {error}")
        return None


def _highest(price: Any) -> Decimal | None:
    """A price, or that of the dearest tier, since the tier is known only afterwards."""
    if price is None or isinstance(price, Decimal):
        return price
    return max([Decimal(price.base), *(Decimal(tier.price) for tier in price.tiers)])


def _source(comment: str) -> str:
    dates = re.findall(r"\d{4}-\d\d-\d\d", comment)
    checked = f", checked {max(dates)}" if dates else ""
    return f"genai-prices {metadata.version('genai-prices')}{checked}"
