"""Units of measurement: how each is written, and its size in the base unit of its dimension."""

from llmctld.semantic.words.tables import rows, section, words

UNITS: dict[str, str] = {}
"""A written form -> the unit."""
FACTORS: dict[str, tuple[str, float]] = {}
"""The unit -> (dimension, its size in base units)."""

for _line in section("units", "units").splitlines():
    _dimension, _, _rest = _line.partition(": ")
    _names, _, _factor = _rest.partition(" = ")
    _unit = _names.split()[0]
    FACTORS[_unit] = (_dimension, float(_factor))
    UNITS |= dict.fromkeys(_names.split(), _unit)

for _name, _unit in rows(section("cldr", "units")).items():
    UNITS.setdefault(_name, _unit)

SIGNS = {"$": "usd", "€": "eur", "£": "gbp", "₹": "inr", "¥": "jpy", "%": "%"}
UNITS |= SIGNS
GROUPS = dict.fromkeys(("celsius", "fahrenheit", "kelvin"), "temperature") | {"months": "time", "rate": "data"}
GROUPS |= dict.fromkeys(("usd", "eur", "gbp", "inr", "jpy", "cny", "btc"), "money")
"""Dimensions -> one for all whose units replace one another, though without a fixed factor."""
WRITTEN_AFTER = words(section("units", "written after")) | words(section("cldr", "written after"))
"""Units only behind a number: alone they are other words, or letters."""
