"""The settings in effect, one line each, with their source."""

from collections.abc import Iterable
from typing import NamedTuple


class Setting(NamedTuple):
    """`value` in TOML, "null" if there is none; `source` is "default", a file or a variable."""

    key: str
    value: str
    source: str


def lines(settings: Iterable[Setting]) -> str:
    found = list(settings)
    width = max((len(f"{setting.key} = {setting.value}") for setting in found), default=0)
    return "".join(f"{f'{item.key} = {item.value}':<{width}}  # {item.source}\n" for item in found)
