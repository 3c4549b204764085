"""The prices of a model in effect, for `models show`: asked of a child, since published prices are a library of the hub.

It knows no rule of precedence; llmctld/money/pricing/price_list.py does.
"""

import msgspec

from llmctl.errors import Internal
from llmctl.interpreter import ChildError, apart, module


class PriceInEffect(msgspec.Struct):
    """`value`: a decimal number. `source`: a setting's full name, or the list that publishes it."""

    value: str
    source: str


class PricesInEffect(msgspec.Struct):
    """The line of `python -m llmctld.money NAME`: setting -> its value; or an error."""

    currency: str = ""
    prices: dict[str, PriceInEffect] = {}
    error: ChildError | None = None


def prices_of(name: str) -> PricesInEffect:
    """Raises what the child reports."""
    with apart(module("llmctld.money", name)) as child:  # its notices go to stderr
        assert child.stdout is not None
        raw = child.stdout.read()
    try:
        line = msgspec.json.decode(raw, type=PricesInEffect)
    except msgspec.DecodeError as error:
        raise Internal(f"the price list printed {raw[:80]!r} instead of JSON", "Its own output is above.") from error
    if line.error is not None:
        raise line.error.error()
    return line
