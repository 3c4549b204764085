"""The options of a question, by their long names, for `llmctl ask`, templates and the Python client alike.

It decides which option overrides which, and which exclude each other; the hub checks their ranges.
"""

import os
from typing import Any

from llmctl.errors import Usage
from llmctl.wire import Sampling


class Options(Sampling, kw_only=True, forbid_unknown_fields=True, rename={"continue_": "continue"}):
    """Options of `ask` that concern the request. A default value means that the option was not given."""

    model: str | None = None
    system: str | None = None
    template: str | None = None
    param: dict[str, Any] = {}
    file: list[str] | str = []
    continue_: bool = False
    conversation: str | None = None
    stop: list[str] | str = []  # type: ignore[assignment] # request.py makes it a list
    raw: bool = False
    extract: bool = False
    xl: bool = False
    n: int | None = None
    schema: str | dict[str, Any] | None = None
    grammar: str | None = None
    reasoning: str | None = None
    think: str | bool | None = None
    adapter: list[str] | str | dict[str, float] = []
    repro: bool = False
    priority: str | None = None
    overflow: str | None = None
    cache: bool = False
    no_cache: bool = False
    refresh: bool = False
    cache_only: bool = False
    semantic: bool | None = None
    max_age: float | str | None = None
    explain: bool = False
    user: str | None = None
    tag: list[str] | str = []
    timeout: float | str | None = None
    max_cost: float | str | None = None
    keep_alive: float | str | None = None


class Asked(Options, kw_only=True, forbid_unknown_fields=True):
    """The options and the question itself; only programs use fields other than `prompt` and `stdin`."""

    prompt: str | None = None
    messages: list[Any] | None = None
    """Dicts, or wire.ChatMessage."""
    tools: list[dict[str, Any]] = []
    tool_choice: Any = None
    stdin: str | None = None
    tokens: list[int] | None = None
    ignore_eos: bool = False


CACHE = {"cache": "store", "no_cache": "skip", "refresh": "refresh", "cache_only": "only"}
"""Option -> wire.Generate.cache."""
EXTRACT = {"extract": "first", "xl": "last"}
EXCLUSIVE = (
    tuple(CACHE), tuple(EXTRACT), ("continue_", "conversation"), ("schema", "grammar"), ("schema", "extract"), ("schema", "xl"),
)  # fmt: skip
DEFAULT = Options()


def given_options(options: Options) -> dict[str, Any]:
    """The given options, by field name. Raises Usage when two of them exclude each other."""
    values = {
        name: getattr(options, name)
        for name in Options.__struct_fields__
        if getattr(options, name) != getattr(DEFAULT, name) and getattr(options, name) is not None
    }
    for group in EXCLUSIVE:
        both = [f"--{name.strip('_').replace('_', '-')}" for name in group if name in values]
        if len(both) > 1:
            raise Usage(f"{both[0]} and {both[1]} exclude each other", "Give one of them.")
    return values


def layered(over: Options, under: Options) -> dict[str, Any]:
    """The options of both; `over` wins, also within a group of exclusive options. `param` is merged."""
    values, base = given_options(over), given_options(under)
    for group in EXCLUSIVE:
        if any(name in values for name in group):
            base = {name: value for name, value in base.items() if name not in group}
    merged = {**base, **values}
    if "param" in merged:
        merged["param"] = {**base.get("param", {}), **values.get("param", {})}
    return merged


def as_list(value: Any) -> list[str]:
    """One or many, as a list of strings."""
    if isinstance(value, str | os.PathLike):
        return [os.fspath(value)]
    return [os.fspath(item) for item in value]
