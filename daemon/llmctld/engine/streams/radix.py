"""A radix tree over token sequences: which holder holds which tokens, and how long a prefix a new sequence shares with each.

Holders are numbers; whether one is a stream or a saved state is not known here.
"""

from dataclasses import dataclass, field
from typing import Optional

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]


@dataclass(eq=False)
class Node:
    """`edge`: tokens between the parent and this node. Every holder of a node also holds its parent."""

    edge: Tokens
    parent: Optional["Node"] = None
    children: dict[int, "Node"] = field(default_factory=dict)
    holders: set[int] = field(default_factory=set)


class Radix:
    """Each holder holds one sequence. Sequences with a common prefix share its nodes."""

    def __init__(self) -> None:
        self._root = Node(np.empty(0, np.int32))
        self._tails: dict[int, Node] = {}

    def __contains__(self, holder: int) -> bool:
        return holder in self._tails

    def hold(self, holder: int, tokens: Tokens) -> None:
        """Set the sequence of `holder`, replacing the previous one."""
        self.release(holder)
        node, done = self._root, 0
        while done < len(tokens):
            child = node.children.get(int(tokens[done]))
            if child is None:
                child = _attach(node, tokens[done:].copy())
            length = common(child.edge, tokens[done:])
            if length < len(child.edge):
                child = _split(child, length)
            child.holders.add(holder)
            node, done = child, done + length
        self._tails[holder] = node

    def release(self, holder: int) -> None:
        """Remove the sequence of `holder`, if it has one."""
        node = self._tails.pop(holder, None)
        while node is not None and node.parent is not None:
            node.holders.discard(holder)
            parent = node.parent
            if not node.holders:
                del parent.children[int(node.edge[0])]
            elif len(node.children) == 1:
                self._join(node)
            node = parent

    def match(self, tokens: Tokens) -> dict[int, int]:
        """Holder -> length of the prefix it shares with `tokens`; holders without one are omitted."""
        found: dict[int, int] = {}
        node, done = self._root, 0
        while done < len(tokens):
            child = node.children.get(int(tokens[done]))
            if child is None:
                break
            length = common(child.edge, tokens[done:])
            done += length
            found.update(dict.fromkeys(child.holders, done))
            if length < len(child.edge):
                break
            node = child
        return found

    def shared(self, holder: int) -> int:
        """Length of the prefix of `holder` that other holders hold too."""
        node: Node | None = self._tails.get(holder)
        while node is not None and len(node.holders) == 1:
            node = node.parent
        length = 0
        while node is not None:
            length += len(node.edge)
            node = node.parent
        return length

    def check(self, held: dict[int, Tokens]) -> None:
        """Verify that the tree contains exactly `held`. RuntimeError names the difference."""
        if self._tails.keys() != held.keys():
            raise RuntimeError(f"radix: holders {sorted(self._tails)}, but {sorted(held)} hold something")
        for holder, tokens in held.items():
            if not np.array_equal(_path(self._tails[holder]), tokens):
                raise RuntimeError(f"radix: holder {holder} has another sequence of {len(tokens)} tokens")
        _check_node(self._root)

    def _join(self, node: Node) -> None:
        """Merge a node with its only child if both have the same holders."""
        (child,) = node.children.values()
        if child.holders != node.holders or any(tail is node for tail in self._tails.values()):
            return
        node.edge, node.children = np.concatenate([node.edge, child.edge]), child.children
        for grandchild in node.children.values():
            grandchild.parent = node
        for holder, tail in self._tails.items():
            if tail is child:
                self._tails[holder] = node


def common(first: Tokens, second: Tokens) -> int:
    """Length of the common prefix."""
    length = min(len(first), len(second))
    differs = first[:length] != second[:length]
    place = int(differs.argmax()) if length else 0
    return place if length and differs[place] else length


def _attach(parent: Node, edge: Tokens) -> Node:
    node = parent.children[int(edge[0])] = Node(edge, parent)
    return node


def _split(node: Node, length: int) -> Node:
    """Split the node's edge after `length` tokens; return the upper part, a new node."""
    assert node.parent is not None
    upper = _attach(node.parent, node.edge[:length])
    upper.holders = set(node.holders)
    node.edge, node.parent = node.edge[length:], upper
    upper.children[int(node.edge[0])] = node
    return upper


def _path(node: Node | None) -> Tokens:
    edges = []
    while node is not None:
        edges.append(node.edge)
        node = node.parent
    return np.concatenate(edges[::-1])


def _check_node(node: Node) -> None:
    for first, child in node.children.items():
        if not len(child.edge) or int(child.edge[0]) != first or child.parent is not node:
            raise RuntimeError(f"radix: a node below token {first} is not where it says")
        if not child.holders or (node.parent is not None and not child.holders <= node.holders):
            raise RuntimeError(f"radix: a node below token {first} is held by {child.holders}")
        _check_node(child)
