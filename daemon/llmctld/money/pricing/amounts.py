"""Amounts of money as whole units of 1e-12 of the currency, so that sums are exact and a ledger balances to the last unit.

It knows no currency, and no price.
"""

from decimal import Decimal
from fractions import Fraction

UNIT = 10**12
"""Units in one dollar, euro or whatever the currency is."""


def units(amount: Decimal | Fraction | int) -> int:
    """The amount in units, rounded up: what is charged never falls below what it cost."""
    exact = Fraction(amount) * UNIT
    return -(-exact.numerator // exact.denominator)


def money(count: int) -> Decimal:
    """`count` units as an amount without trailing zeros, exact."""
    whole, rest = divmod(abs(count), UNIT)
    digits = f"{whole}.{rest:012d}".rstrip("0").rstrip(".")
    return Decimal(f"-{digits}" if count < 0 else digits)
