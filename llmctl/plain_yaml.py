"""Reads YAML that people write: texts, numbers, booleans, lists and mappings, and nothing that grows or refers to itself.

It knows YAML, not what a file means. Dates and the keys of mappings are text; every error names its line.
"""

from typing import Any, NoReturn

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import CollectionNode, MappingNode, Node, ScalarNode

DEEPEST = 100
MOST_NODES = 20_000
"""Texts, lists and mappings of a file. The library reads some thousands in a second."""
REPEATED = 1_000_000
"""Letters that all aliases of a file may stand for. A few lines of aliases of aliases stand for gigabytes."""
TAG = "tag:yaml.org,2002:"
PLAIN = {f"{TAG}{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map")}
FAULTS = (ValueError, LookupError, AttributeError, TypeError, ArithmeticError)
"""What the library's own constructors raise for `!!int x`, `!!bool maybe`, a number of 5,000 digits."""


def read_yaml(text: str) -> Any:
    """The value of the text. Raises ValueError with a line and the reason."""
    try:
        return yaml.load(text, PlainLoader)
    except yaml.MarkedYAMLError as error:
        raise ValueError(_words(error)) from error
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise ValueError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _words(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    words = ", ".join(part for part in (error.context, error.problem) if part)
    return words if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: {words}"


class PlainLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, an alias of what contains it, and aliases that stand for too much."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as in the library
        first: [(tag, pattern) for tag, pattern in resolvers if tag in PLAIN or tag == f"{TAG}merge"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {  # noqa: RUF012
        tag: make for tag, make in yaml.SafeLoader.yaml_constructors.items() if tag in PLAIN
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._repeated = 0
        self._sizes = dict[int, int]()
        """Letters that a complete node stands for, those of its aliases included, by its id."""

    # ---- nodes ----

    def compose_node(self, parent: Any, index: Any) -> Any:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        self._depth += 1
        if self._depth > DEEPEST:
            _refuse(f"it is nested more than {DEEPEST} deep", event.start_mark)
        if len(self._sizes) >= MOST_NODES:
            _refuse(f"it has more than {MOST_NODES} values", event.start_mark)
        node: Any = super().compose_node(parent, index)
        self._depth -= 1
        if not isinstance(event, yaml.AliasEvent):
            self._sizes[id(node)] = 1 + sum(map(self._size, _parts(node)))
            return node
        if id(node) not in self._sizes:
            _refuse(f"*{event.anchor} stands inside what it refers to", event.start_mark)
        self._repeated += self._sizes[id(node)]
        if self._repeated > REPEATED:
            _refuse(f"its aliases stand for more than {REPEATED} letters", event.start_mark)
        return node

    def _size(self, part: Any) -> int:
        return self._sizes[id(part)] if isinstance(part, Node) else len(part)

    def compose_mapping_node(self, anchor: Any) -> MappingNode:
        """Keys are text as it stands there, also `no` and `12`."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, ScalarNode):
                _refuse("a key has to be a text", key.start_mark)
            if key.tag == f"{TAG}merge":
                continue
            key.tag = f"{TAG}str"
            if key.value in seen:
                _refuse(f"the key {key.value[:80]!r} stands twice", key.start_mark)
            seen.add(key.value)
        return node

    # ---- values ----

    def construct_object(self, node: Node, deep: bool = False) -> Any:
        if node.tag not in PLAIN and node.tag != f"{TAG}merge":
            _refuse(f"the tag {node.tag.replace(TAG, '!!')[:80]} is not supported", node.start_mark)
        if node.tag == f"{TAG}merge":  # `<<` as a value
            node.tag = f"{TAG}str"
        try:
            return super().construct_object(node, deep)
        except FAULTS as error:
            raise ConstructorError(None, None, f"this is no {node.tag.removeprefix(TAG)}", node.start_mark) from error

    def construct_scalar(self, node: Any) -> Any:
        """A character that is written as two halves, as JSON does, becomes one."""
        text = super().construct_scalar(node)
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16") if isinstance(text, str) else text
        except UnicodeDecodeError:
            _refuse("this text contains half of a character", node.start_mark)


def _refuse(words: str, mark: Any) -> NoReturn:
    raise ConstructorError(None, None, words, mark)


def _parts(node: Any) -> list[Any]:
    """The text of a scalar, or the nodes in a list or mapping."""
    if not isinstance(node, CollectionNode):
        return [node.value]
    return [each for pair in node.value for each in pair] if isinstance(node, MappingNode) else node.value
