"""Whose money is spent: users, groups, models and tags, each with a name of its own kind.

On the command line a scope is `USER`, `@GROUP`, `model:NAME` or `tag:NAME`.
"""

from typing import NamedTuple

from llmctl.errors import InvalidRequest, short

PREFIXES = {"@": "group", "model:": "model", "tag:": "tag"}
_SHOWN = {kind: prefix for prefix, kind in PREFIXES.items()} | {"user": ""}


class Scope(NamedTuple):
    """`kind`: user, group, model or tag."""

    kind: str
    name: str

    def __str__(self) -> str:
        return _SHOWN[self.kind] + self.name


def parse_scope(text: str) -> Scope:
    """The scope as the command line names it. Raises InvalidRequest."""
    for prefix, kind in PREFIXES.items():
        if text.startswith(prefix):
            scope = Scope(kind, text[len(prefix) :])
            break
    else:
        scope = Scope("user", text)
    if not scope.name.strip() or not scope.name.isprintable():
        raise InvalidRequest(
            f"{short(text)!r} names no user, group, model or tag", "Write USER, @GROUP, model:NAME or tag:NAME."
        )
    return scope
