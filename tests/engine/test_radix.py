"""The tree compared with a slow reference: a dict of sequences, compared token by token."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from llmctld.engine.streams.radix import Radix, Tokens, common

sequences = st.lists(st.integers(0, 2), max_size=12)
holders = st.integers(0, 5)


def tokens(numbers: list[int]) -> Tokens:
    return np.array(numbers, np.int32)


def slow_common(first: list[int], second: list[int]) -> int:
    length = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        length += 1
    return length


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.tree = Radix()
        self.twin: dict[int, list[int]] = {}

    @rule(holder=holders, sequence=sequences)
    def hold(self, holder: int, sequence: list[int]) -> None:
        self.tree.hold(holder, tokens(sequence))
        self.twin[holder] = sequence

    @rule(holder=holders)
    def release(self, holder: int) -> None:
        self.tree.release(holder)
        self.twin.pop(holder, None)
        assert holder not in self.tree

    @rule(sequence=sequences)
    def match(self, sequence: list[int]) -> None:
        lengths = {holder: slow_common(held, sequence) for holder, held in self.twin.items()}
        assert self.tree.match(tokens(sequence)) == {holder: length for holder, length in lengths.items() if length}

    @rule(holder=holders)
    def shared(self, holder: int) -> None:
        own = self.twin.get(holder, [])
        others = [held for other, held in self.twin.items() if other != holder]
        assert self.tree.shared(holder) == max((slow_common(own, held) for held in others), default=0)

    @invariant()
    def sound(self) -> None:
        self.tree.check({holder: tokens(held) for holder, held in self.twin.items()})


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_common_returns_the_length_of_the_shared_prefix() -> None:
    assert common(tokens([1, 2, 3]), tokens([1, 2, 4])) == 2
    assert common(tokens([]), tokens([1])) == 0
    assert common(tokens([1, 2]), tokens([1, 2, 3])) == 2


def test_check_finds_a_missing_or_different_holder() -> None:
    tree = Radix()
    tree.hold(1, tokens([1, 2]))
    with pytest.raises(RuntimeError, match="holders"):
        tree.check({})
    with pytest.raises(RuntimeError, match="another sequence"):
        tree.check({1: tokens([1, 3])})
