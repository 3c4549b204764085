"""The prices of a model in effect, for `models show`: asked of a child, since published prices are a library of the hub.

It knows no rule of precedence; llmctld/money/price_list.py does.
"""

import subprocess

import msgspec

from llmctl.errors import Internal
from llmctl.interpreter import ChildError, module


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
    child = subprocess.run(
        module("llmctld.money", name), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=False
    )  # its notices go to stderr
    try:
        line = msgspec.json.decode(child.stdout, type=PricesInEffect)
    except msgspec.DecodeError as error:
        raise Internal(
            f"the price list printed {child.stdout[:80]!r} instead of JSON", "Its own output is above."
        ) from error
    if line.error is not None:
        raise line.error.error()
    return line
