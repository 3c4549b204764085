"""Stage `price`: notes the prices of the model that was chosen, so that every answer says what it costs.

It computes no cost: call.py does for an answer that is computed, receiver.py for one that is served.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from llmctld.call.call import Call, Event, Link, Stage
from llmctld.money.pricing.price_list import PriceList


def price(prices: PriceList) -> Link:
    def link(next_: Stage) -> Stage:
        async def stage(call: Call) -> AsyncGenerator[Event, None]:
            call.price = prices.of(call.entry)
            async with aclosing(next_(call)) as events:
                async for event in events:
                    yield event

        return stage

    return link
