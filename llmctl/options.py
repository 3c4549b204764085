"""What can be asked for: the options of `llmctl ask`, of a template and of the Python client, by their long names.

Which option wins over which, and which exclude each other, is decided here; no range is checked, that is the hub's
part.
"""

import os
from typing import Any

from llmctl.errors import Usage
from llmctl.wire import Sampling


class Options(Sampling, kw_only=True, forbid_unknown_fields=True, rename={"continue_": "continue"}):
    """Options of `ask` that concern the request. A default means: not given."""

    model: str | None = None
    system: str | None = None
    template: str | None = None
    param: dict[str, Any] = {}
    file: list[str] | str = []
    continue_: bool = False
    conversation: str | None = None
    stop: list[str] | str = []  # type: ignore[assignment] # one or many, until it is packed
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
    keep_alive: float | str | None = None


class Asked(Options, kw_only=True, forbid_unknown_fields=True):
    """The options with what else belongs to a question; all but `prompt` and `stdin` are for programs only."""

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


def given(options: Options) -> dict[str, Any]:
    """The options that were given, by field name. Raises Usage when two of them exclude each other."""
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
    """What is given by either; `over` wins, and its choice within an exclusive group is the only one. `param` is
    merged.
    """
    values, base = given(over), given(under)
    for group in EXCLUSIVE:
        if any(name in values for name in group):
            base = {name: value for name, value in base.items() if name not in group}
    merged = {**base, **values}
    if "param" in merged:
        merged["param"] = {**base.get("param", {}), **values.get("param", {})}
    return merged


def listed(value: Any) -> list[str]:
    """One or many, as a list of strings."""
    if isinstance(value, str | os.PathLike):
        return [os.fspath(value)]
    return [os.fspath(item) for item in value]
