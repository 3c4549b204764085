"""Parses GBNF (llama.cpp's grammar notation) and writes it in Lark's notation for llguidance.

It follows grammars/README.md of llama.cpp. Every character becomes a symbol of its own: the library would otherwise match the
longest word first, which GBNF does not.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

MOST_REPEATS = 2000
"""Limit of `{n,m}`, as in llama.cpp."""
MOST_NESTED_REPEATS = 1_000_000
"""`((x{1000}){1000}){1000}` is short to write, and the library counts in 32 bits."""
DEEPEST = 60
SINGLE = {"n": "\n", "r": "\r", "t": "\t", **{character: character for character in '\\"[]-^'}}
HEX = {"x": 2, "u": 4, "U": 8}
PLAIN = re.compile(r"[A-Za-z0-9]")


class GbnfError(ValueError):
    """The grammar cannot be parsed; the message names the line."""


@dataclass(frozen=True)
class Chars:
    """One character inside (or, if negated, outside) these ranges, ends included."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool = False


@dataclass(frozen=True)
class Name:
    rule: str


@dataclass(frozen=True)
class Concatenation:
    items: tuple["Node", ...]


@dataclass(frozen=True)
class Alternation:
    options: tuple["Node", ...]


@dataclass(frozen=True)
class Repeat:
    item: "Node"
    low: int
    high: int | None


Node = Chars | Name | Concatenation | Alternation | Repeat
Rules = dict[str, Node]
ANY = Chars((), negated=True)
REPEATS: dict[str, tuple[int, int | None]] = {"*": (0, None), "+": (1, None), "?": (0, 1)}


# ---- parsing --------------------------------------------------------------------------------------------------------


def parse(text: str) -> Rules:
    """Rules by name. Raises GbnfError, also for an undefined rule or a missing `root`."""
    rules = Parser(text).rules()
    for used in {node.rule for body in rules.values() for node in _all(body) if isinstance(node, Name)} | {"root"}:
        if used not in rules:
            raise GbnfError(f"the rule {used!r} is not defined")
    return rules


class Parser:
    """Recursive descent; `_at` is the position in the text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._depth = 0

    def rules(self) -> Rules:
        found: Rules = {}
        self._skip(lines=True)
        while self._at < len(self._text):
            name = self._name()
            self._skip()
            self._expect("::=")
            self._skip(lines=True)
            if name in found:
                raise self._error(f"the rule {name!r} is defined twice")
            found[name] = self._choice(nested=False)
            if (times := _repeats(found[name])) > MOST_NESTED_REPEATS:
                raise self._error(f"the repeats of {name!r} multiply to {times}; the limit is {MOST_NESTED_REPEATS}")
            if self._peek() not in ("\n", "\r", ""):
                raise self._error(f"expected the end of the rule {name!r}, not {self._peek()!r}")
            self._skip(lines=True)
        return found

    def _choice(self, nested: bool) -> Node:
        options = [self._sequence(nested)]
        while self._bar(nested):
            self._skip(lines=True)
            options.append(self._sequence(nested))
        return options[0] if len(options) == 1 else Alternation(tuple(options))

    def _bar(self, nested: bool) -> bool:
        """Consume the next `|`, if one follows; at the top level it may be on the next line."""
        before = self._at
        self._skip(lines=True)
        if self._peek() == "|":
            self._at += 1
            return True
        if not nested:
            self._at = before
        return False

    def _sequence(self, nested: bool) -> Node:
        items: list[Node] = []
        while (read := self._reader()) is not None:
            items.append(self._repeated(read))
            self._skip(lines=nested)
        return items[0] if len(items) == 1 else Concatenation(tuple(items))

    def _reader(self) -> Callable[[], Node] | None:
        """The function that reads the item at this position; None if there is none."""
        character = self._peek()
        if character == "<":
            raise self._error("tokens (`<...>`) are not supported in a grammar: write the text instead")
        if re.match(r"[\w-]", character):
            return lambda: Name(self._name())
        return {'"': self._literal, "[": self._class, "(": self._group, ".": self._any}.get(character)

    def _repeated(self, read: Callable[[], Node]) -> Node:
        item = read()
        mark = self._peek()
        if mark == "{":
            return Repeat(item, *self._bounds())
        if mark in REPEATS:
            self._at += 1
            return Repeat(item, *REPEATS[mark])
        return item

    def _bounds(self) -> tuple[int, int | None]:
        found = re.compile(r"\{\s*(\d+)\s*(?:(,)\s*(\d+)?\s*)?\}").match(self._text, self._at)
        if found is None:
            raise self._error("expected {n}, {n,} or {n,m}")
        low = int(found[1][:9])
        high = low if not found[2] else int(found[3][:9]) if found[3] else None
        if max(low, high or 0) > MOST_REPEATS or (high is not None and high < low):
            raise self._error(f"{found[0]} repeats out of range: at most {MOST_REPEATS}, the smaller number first")
        self._at = found.end()
        return low, high

    def _group(self) -> Node:
        self._at += 1
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._error(f"parentheses are nested more than {DEEPEST} deep")
        self._skip(lines=True)
        body = self._choice(nested=True)
        self._expect(")")
        self._depth -= 1
        return body

    def _any(self) -> Node:
        self._at += 1
        return ANY

    def _literal(self) -> Node:
        self._at += 1
        found = []
        while self._peek() != '"':
            found.append(self._character())
        self._at += 1
        items = tuple(Chars(((one, one),)) for one in found)
        return items[0] if len(items) == 1 else Concatenation(items)

    def _class(self) -> Node:
        self._at += 1
        negated = self._peek() == "^"
        self._at += negated
        ranges = []
        while self._peek() != "]":
            low = high = self._character()
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                high = self._character()
            if high < low:
                raise self._error(f"the range {low!r}-{high!r} is empty")
            ranges.append((low, high))
        self._at += 1
        if not ranges and not negated:
            raise self._error("[] is empty")
        return Chars(tuple(ranges), negated)

    # ---- characters ----

    def _character(self) -> str:
        """One character, escapes resolved."""
        character = self._peek()
        if character in ("", "\n", "\r"):
            raise self._error("a string or [...] is not closed on its line")
        self._at += 1
        if character != "\\":
            return character
        escape = self._peek()
        self._at += 1
        if escape in SINGLE:
            return SINGLE[escape]
        digits = self._text[self._at : self._at + HEX.get(escape, 0)]
        if escape not in HEX or not re.fullmatch(rf"[0-9a-fA-F]{{{HEX[escape]}}}", digits):
            raise self._error(f"\\{escape}{digits} is no escape")
        self._at += HEX[escape]
        code = int(digits, 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise self._error(f"\\{escape}{digits} is no character")
        return chr(code)

    def _name(self) -> str:
        found = re.compile(r"[\w-]+").match(self._text, self._at)
        if found is None:
            raise self._error(f"expected the name of a rule, not {self._peek()!r}")
        self._at = found.end()
        return found[0]

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _expect(self, word: str) -> None:
        if not self._text.startswith(word, self._at):
            raise self._error(f"expected {word!r}, not {self._text[self._at : self._at + 3]!r}")
        self._at += len(word)

    def _skip(self, lines: bool = False) -> None:
        """Skip blanks and comments, and line ends where a rule may continue."""
        blank = r"(?:[ \t\r\n]|#[^\n]*)*" if lines else r"[ \t]*(?:#[^\n]*)?"
        found = re.compile(blank).match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _error(self, words: str) -> GbnfError:
        return GbnfError(f"line {self._text.count(chr(10), 0, self._at) + 1}: {words}")


def children(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Repeat):
        return (node.item,)
    return node.items if isinstance(node, Concatenation) else node.options if isinstance(node, Alternation) else ()


def _all(node: Node) -> Iterator[Node]:
    yield node
    for child in children(node):
        yield from _all(child)


def _repeats(node: Node) -> int:
    """Maximum number of the innermost item, as far as it is bounded."""
    inner = max((_repeats(child) for child in children(node)), default=1)
    return inner * max(node.low, node.high or 1) if isinstance(node, Repeat) else inner


# ---- writing --------------------------------------------------------------------------------------------------------


def lark(rules: Rules) -> str:
    """The grammar in Lark's notation for llguidance; `root` becomes `start`."""
    names = {name: f"r{number}" for number, name in enumerate(rules)}
    lines = [f"{names[name]}: {_written(body, names)}" for name, body in rules.items()]
    return "\n".join([f"start: {names['root']}", *lines])


def _written(node: Node, names: dict[str, str]) -> str:
    if isinstance(node, Chars):
        return f"/{_class(node)}/"
    if isinstance(node, Name):
        return names[node.rule]
    if isinstance(node, Repeat):
        return f"({_written(node.item, names)}){{{node.low},{'' if node.high is None else node.high}}}"
    if isinstance(node, Alternation):
        return f"({' | '.join(_written(option, names) for option in node.options)})"
    return " ".join(_written(item, names) for item in node.items) or '""'


def _class(chars: Chars) -> str:
    if not chars.ranges:
        return "(?s:.)"
    ranges = "".join(_point(low) if low == high else f"{_point(low)}-{_point(high)}" for low, high in chars.ranges)
    return f"[{'^' if chars.negated else ''}{ranges}]"


def _point(character: str) -> str:
    return character if PLAIN.fullmatch(character) else f"\\u{{{ord(character):x}}}"
