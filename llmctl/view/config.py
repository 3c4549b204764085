"""The effective settings, a line each, with where they come from."""

from collections.abc import Iterable
from typing import NamedTuple


class Setting(NamedTuple):
    """`value` as TOML writes it, "null" when there is none; `source` is default, a file or a variable."""

    key: str
    value: str
    source: str


def lines(settings: Iterable[Setting]) -> str:
    found = list(settings)
    width = max((len(f"{setting.key} = {setting.value}") for setting in found), default=0)
    return "".join(f"{f'{item.key} = {item.value}':<{width}}  # {item.source}\n" for item in found)
