"""What an answer costs, from its tokens, its machine time and its energy: the only place that multiplies by a price.

It knows neither models nor where a price was set.
"""

from dataclasses import dataclass, field, replace
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple

from llmctl.wire import Cost, CostParts, TokenUsage
from llmctld.money.pricing.amounts import money, units

PER = 1_000_000
"""Token prices are for a million tokens."""
HOUR_US = 3_600_000_000
KWH_J = 3_600_000
OVERHEAD = Decimal("0.10")


class Use(NamedTuple):
    """What one answer used. `machine_s`: seconds in which the model computed for it; `joules`: its share of the machine's energy,
    None where the machine does not measure it."""

    tokens: TokenUsage
    machine_s: float = 0.0
    joules: float | None = None


class Parts(NamedTuple):
    """The cost of one answer in units (amounts.py). None: it has no price."""

    tokens: int | None = None
    machine: int | None = None
    overhead: int = 0

    @property
    def total(self) -> int | None:
        """The sum of the parts; None if there is no price."""
        return None if self == Parts() else (self.tokens or 0) + (self.machine or 0) + self.overhead


@dataclass(frozen=True)
class Price:
    """The prices of one model. A token price replaces machine time, unless the model has a price for both (price_list.py)."""

    per_input: Decimal | None = None
    """Per million tokens, as `per_cached` and `per_output`."""
    per_cached: Decimal | None = None
    """Of prompt tokens that were reused. None: as `per_input`."""
    per_output: Decimal | None = None
    per_hour: Decimal | None = None
    """Of machine time."""
    per_kwh: Decimal | None = None
    """Of energy; counted as machine time. Only without `per_hour`."""
    overhead: Decimal = OVERHEAD
    """Share of the machine part that is added to it."""
    overhead_on_tokens: bool = False
    """Whether it is added to the token part too."""
    currency: str = "USD"
    sources: dict[str, str] = field(default_factory=dict)
    """Setting -> where its value comes from."""

    def parts(self, use: Use) -> Parts:
        """The cost of an answer. Without a price for each kind of token that was used there is no token part."""
        tokens, machine = self._tokens(use.tokens), self._machine(use)
        if tokens is None and machine is None:
            return Parts()
        base = (machine or 0) + (tokens or 0 if self.overhead_on_tokens else 0)
        return Parts(tokens, machine, units(Fraction(self.overhead) * Fraction(base, units(1))))

    @property
    def has_tokens(self) -> bool:
        """Whether tokens have a price."""
        return self.per_input is not None or self.per_output is not None

    @property
    def has_machine(self) -> bool:
        """Whether machine time or energy has a price."""
        return self.per_hour is not None or self.per_kwh is not None

    def dearest(self) -> "Price":
        """With reused tokens at no less than others: for an upper bound."""
        prices = [price for price in (self.per_input, self.per_cached) if price is not None]
        return replace(self, per_cached=None, per_input=max(prices)) if prices else self

    def _tokens(self, usage: TokenUsage) -> int | None:
        cached = self.per_input if self.per_cached is None else self.per_cached
        reused = min(usage.cached_tokens, usage.prompt_tokens)
        kinds = [
            (usage.prompt_tokens - reused, self.per_input), (reused, cached), (usage.completion_tokens, self.per_output)
        ]  # fmt: skip
        if not self.has_tokens:
            return None
        if any(count and price is None for count, price in kinds):
            return None
        return units(sum((count * Fraction(price or 0) / PER for count, price in kinds), Fraction()))

    def _machine(self, use: Use) -> int | None:
        if self.per_hour is not None:
            return units(Fraction(self.per_hour) * round(use.machine_s * 1e6) / HOUR_US)
        if self.per_kwh is not None and use.joules is not None:
            return units(Fraction(self.per_kwh) * Fraction(round(use.joules * 1e6), 1_000_000) / KWH_J)
        return None


UNPRICED = Price()


def bill(price: Price, use: Use, reserved: int | None = None) -> Cost:
    """The cost of an answer that was computed for whoever gets the bill. `reserved`: units that were set aside for it."""
    parts = price.parts(use)
    if parts.total is None:
        return Cost(currency=price.currency)
    shown = CostParts(
        tokens=money(parts.tokens or 0), machine=money(parts.machine or 0), overhead=money(parts.overhead)
    )
    held = None if reserved is None else money(reserved)
    return Cost(amount=money(parts.total), currency=price.currency, priced=True, parts=shown, reserved=held)


def free(price: Price, saved: Use) -> Cost:
    """The cost of an answer that nothing was computed for, and what computing it would have cost."""
    spared = price.parts(saved).total
    if spared is None:
        return Cost(currency=price.currency)
    nothing = money(0)
    parts = CostParts(tokens=nothing, machine=nothing, overhead=nothing)
    return Cost(amount=nothing, currency=price.currency, priced=True, parts=parts, saved=money(spared))
