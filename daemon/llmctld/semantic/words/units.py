"""Units: how they are written, and how many of the base unit of its dimension one is."""

from llmctld.semantic.words.tables import rows, section, words

UNITS: dict[str, str] = {}
"""How it is written -> the unit."""
FACTORS: dict[str, tuple[str, float]] = {}
"""The unit -> (dimension, how many of its base unit)."""

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
"""Dimensions whose units are said in place of one another though no factor leads from one to the other."""
WRITTEN_AFTER = words(section("units", "written after")) | words(section("cldr", "written after"))
"""Units only behind a number: alone these are other words, or letters."""
