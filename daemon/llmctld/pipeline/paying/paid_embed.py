"""`embed` under a budget: reserves what the texts may cost, and settles what their vectors did cost.

The hub embeds questions for the semantic cache without it: nobody asked for those.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from llmctl.wire import Embed, Embeddings, Notice, TokenUsage
from llmctld.call.origin import Origin
from llmctld.models.catalogue.target import REMOTE
from llmctld.money.pricing.price_list import PriceList
from llmctld.money.pricing.prices import Price, Use, bill
from llmctld.money.pricing.rates import FIRST_S
from llmctld.money.spending.accounts import Accounts, Reservation
from llmctld.money.spending.ledger import Charge, Settlement
from llmctld.pipeline.compute.embed import Embedding
from llmctld.pipeline.paying.budget import scopes_of, settle, settlement

OF_TEXT = 64
"""Tokens that a model may add to a text: its marks, and a prompt of its own."""


class PaidEmbedding:
    """`embedding` for those who ask for vectors. `os_user`: whose budget holds besides that of the label."""

    def __init__(self, embedding: Embedding, accounts: Accounts, prices: PriceList, os_user: str) -> None:
        self._embedding, self._accounts, self._prices, self._os_user = embedding, accounts, prices, os_user

    async def __call__(self, request: Embed) -> AsyncGenerator[Notice | Embeddings, None]:
        """Raises what the embedding raises, BudgetExceeded, Busy for requests a minute, and Storage."""
        entry = await self._embedding.entry(request)
        price = self._prices.of(entry)
        scopes = scopes_of(Origin(user=request.user, payer=request.user), entry.name, self._os_user, self._accounts)
        self._accounts.admit(scopes)
        held: Reservation | None = None
        if price.has_tokens or price.has_machine:
            charge = Charge("", request.user, entry.name, (), "embed", None, scopes)
            held = await self._accounts.reserve(charge, _bound(price, request))
        try:
            async with aclosing(self._embedding(request)) as events:
                async for event in events:
                    if isinstance(event, Embeddings):
                        use = Use(TokenUsage(event.tokens, 0, 0), event.seconds)
                        reserved = None if held is None else held.reserved
                        event = msgspec.structs.replace(event, cost=bill(price, use, reserved))
                        if held is not None:
                            is_remote = entry.backend == REMOTE
                            spent = settlement([price.parts(use)], [use.tokens], held.reserved, is_remote)
                            await settle(self._accounts, held, spent)
                    yield event
        finally:
            if held is not None:
                await asyncio.shield(settle(self._accounts, held, Settlement(0)))


def _bound(price: Price, request: Embed) -> int:
    """A token has at least one byte."""
    tokens = sum(len(text.encode()) + OF_TEXT for text in request.texts)
    return price.dearest().parts(Use(TokenUsage(tokens, 0, 0), FIRST_S, 0.0)).total or 0
