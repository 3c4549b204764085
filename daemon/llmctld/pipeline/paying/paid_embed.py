"""`embed` under a budget: reserves what the texts may cost, and settles what their vectors did cost.

The hub embeds questions for the semantic cache without it: nobody asked for those.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from llmctl.errors import Storage
from llmctl.wire import Embed, Embeddings, Notice, TokenUsage
from llmctld.call.origin import Origin
from llmctld.models.catalogue.target import REMOTE
from llmctld.money.pricing.price_list import PriceList
from llmctld.money.pricing.prices import Price, Use, bill
from llmctld.money.pricing.rates import FIRST_S
from llmctld.money.spending.accounts import Accounts, Reservation
from llmctld.money.spending.ledger import OVER, Charge, Settlement
from llmctld.pipeline.compute.embed import Embedding
from llmctld.pipeline.paying.budget import scopes_of
from llmctld.runtime.log import log

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
                            await self._settle(held, _settlement(price, use, held, entry.backend == REMOTE))
                    yield event
        finally:
            if held is not None:
                await asyncio.shield(self._settle(held, Settlement(0)))

    async def _settle(self, held: Reservation, spent: Settlement) -> None:
        try:
            await self._accounts.settle(held, spent)
        except Storage as error:
            log.error("an amount could not be settled in the ledger", error=error.message)


def _bound(price: Price, request: Embed) -> int:
    """A token has at least one byte."""
    tokens = sum(len(text.encode()) + OF_TEXT for text in request.texts)
    return price.dearest().parts(Use(TokenUsage(tokens, 0, 0), FIRST_S, 0.0)).total or 0


def _settlement(price: Price, use: Use, held: Reservation, is_remote: bool) -> Settlement:
    """Engines of ours are charged no more than was reserved."""
    parts = price.parts(use)
    total = parts.total or 0
    excess = max(0, total - held.reserved)
    if excess and not is_remote:
        machine = max(0, (parts.machine or 0) - excess)
        parts = parts._replace(machine=machine)
        total = parts.total or 0
    return Settlement(
        total,
        parts.tokens,
        parts.machine,
        parts.overhead,
        use.tokens.prompt_tokens,
        mark=OVER if excess and is_remote else "",
    )
