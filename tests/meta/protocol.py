"""The tables of daemon/PROTOCOL.md, written from the files of llmctl/wire: a section for each message, a row for each field.

It reads names, types, defaults and docstrings out of the sources; what the protocol means beyond that is written by hand,
above MARK.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import NamedTuple, get_args, get_type_hints

import msgspec

from llmctl import wire

MARK = "<!-- From here on `make generate` writes this page, from llmctl/wire. -->\n"
WIDTH = 140
FACTS = {
    "is_work": "Work: it counts in `requests_in_flight`, and a restart or upgrade waits for it.",
    "any_protocol": "Understood from a client of any protocol number.",
    "ends_background": "The hub cancels its own background work first.",
}
"""Class variable of a request -> what it means for a client."""


class Field(NamedTuple):
    kind: str
    default: str
    text: str


def text(page: str) -> str:
    """PROTOCOL.md: what stands by hand in `page`, and the generated part behind it."""
    return page[: page.index(MARK)] + MARK + "".join(_parts())


def _parts() -> Iterator[str]:
    told: set[type] = set()
    yield "\n## Requests\nEvery request has `protocol` (`int`, default `0`) beside its own fields.\n"
    yield from _sections(get_args(wire.AnyRequest), told)
    yield "\n## Replies\n"
    yield from _sections(get_args(wire.AnyReply), told | set(get_args(wire.AnyResult)))
    yield "\n## Results\n"
    yield from _sections(get_args(wire.AnyResult), told)
    yield "\n## The hub's description of itself\n"
    yield from _sections((wire.HubInfo,), told)


def _sections(kinds: tuple[type, ...], told: set[type]) -> Iterator[str]:
    """Each struct once, followed by the structs that its fields are made of."""
    for kind in kinds:
        if kind not in told:
            told.add(kind)
            yield _section(kind)
            yield from _sections(tuple(_inner(tuple(get_type_hints(kind).values()))), told)


def _inner(hints: tuple[object, ...]) -> Iterator[type]:
    for hint in hints:
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct) and not issubclass(hint, wire.Message):
            yield hint
        yield from _inner(get_args(hint))


def _section(kind: type) -> str:
    tag = kind.__struct_config__.tag if issubclass(kind, wire.Message) else None
    facts = [words for fact, words in FACTS.items() if getattr(kind, fact, False)]
    words = [*re.split(r"\n\s*\n", inspect.cleandoc(kind.__doc__ or "")), *facts]
    paragraphs = "\n\n".join(textwrap.fill(each, WIDTH, break_on_hyphens=False) for each in words if each)
    rows = "".join(
        f"| `{name}` | `{_cell(field.kind)}` | {_default(field.default)} | {_cell(field.text)} |\n"
        for name, field in fields(kind).items()
    )
    table = f"\n| field | type | default | |\n|---|---|---|---|\n{rows}" if rows else ""
    return f"\n### {kind.__name__}{f' (`{tag}`)' if tag else ''}\n\n{paragraphs}\n{table}"


def _cell(words: str) -> str:
    return words.replace("|", "\\|")


def _default(default: str) -> str:
    return default if default == "required" else f"`{default}`"


def fields(kind: type) -> dict[str, Field]:
    """The fields that a struct sends, its own first; `protocol`, which every request has, is left out."""
    found: dict[str, Field] = {}
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("llmctl."):
            found |= _own(base)
    if issubclass(kind, wire.Request):
        del found["protocol"]
    sent = {name: found[name] for name in kind.__struct_fields__ if name in found}  # type: ignore[attr-defined]
    own = _own(kind)
    return dict(sorted(sent.items(), key=lambda item: item[0] not in own))


def _own(kind: type) -> dict[str, Field]:
    """What the class statement itself declares: an annotated name, its default, and the string behind it."""
    (statement,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(statement, ast.ClassDef)
    found = {}
    for line, after in zip(statement.body, [*statement.body[1:], None], strict=True):
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            default = ast.unparse(line.value) if line.value else "required"
            found[line.target.id] = Field(ast.unparse(line.annotation), default, _docstring(after))
    return found


def _docstring(statement: ast.stmt | None) -> str:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return " ".join(str(statement.value.value).split())
    return ""
