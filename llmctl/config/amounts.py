"""Which amounts of money are taken. Anything else would be a number that takes minutes to write out."""

from decimal import Decimal

MOST = Decimal(10) ** 15
PLACES = 30
RANGE = "a number from 0 to 10^15, with at most 30 decimal places"


def is_amount(value: Decimal) -> bool:
    """`1e-9999999` and `0e9999999` are short to write too."""
    if not value.is_finite():
        return False
    exponent = value.as_tuple().exponent
    return (
        isinstance(exponent, int) and exponent >= -PLACES and value.adjusted() <= MOST.adjusted() and 0 <= value <= MOST
    )
