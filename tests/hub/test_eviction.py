"""Each policy against a slow twin that looks at everything each time; and the contract that all of them keep."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmctld.cache.eviction import POLICIES, Item

LIMIT = 1000
keys = st.sampled_from("abcdefgh")
items = st.builds(
    Item,
    size=st.sampled_from([1, 10, 90, 250]),
    seconds=st.sampled_from([0.0, 0.5, 2.0, 30.0]),
    frequency=st.integers(0, 3),
    context=st.sampled_from([0.0, 0.25, 1.0]),
)
steps = st.lists(
    st.tuples(st.just("add"), keys, items)
    | st.tuples(st.just("hit"), keys)
    | st.tuples(st.just("remove"), keys)
    | st.tuples(st.just("victim")),
    max_size=60,
)


class Twin:
    """The slow twin: it keeps all that was said, and sorts by `order` for each victim."""

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}
        self.uses: dict[str, int] = {}
        self.used: dict[str, int] = {}
        self.value: dict[str, float] = {}
        self.clock = 0
        self.age = 0.0

    def touch(self, key: str) -> None:
        self.clock += 1
        self.used[key] = self.clock
        item = self.items[key]
        self.value[key] = self.age + self.uses[key] * item.seconds / item.size

    def add(self, key: str, item: Item) -> None:
        self.uses[key] = max(item.frequency, self.uses[key] if key in self.items else 0) + 1
        self.items[key] = item
        self.touch(key)

    def hit(self, key: str) -> None:
        if key in self.items:
            self.uses[key] += 1
            self.touch(key)

    def remove(self, key: str) -> None:
        self.items.pop(key, None)

    def victim(self, order: str) -> str | None:
        ways: dict[str, Callable[[str], tuple[float, int]]] = {
            "lru": lambda key: (0.0, self.used[key]),
            "gdsf": lambda key: (self.value[key], self.used[key]),
        }
        victim = min(self.items, key=ways[order], default=None)
        if victim is not None:
            self.age = self.value[victim]
            del self.items[victim]
        return victim


@pytest.mark.parametrize("name", ["lru", "gdsf"])
@given(steps=steps)
def test_a_policy_against_its_slow_twin(name: str, steps: list[tuple[object, ...]]) -> None:
    policy, twin = POLICIES[name](LIMIT), Twin()
    for step in steps:
        if step[0] == "victim":
            assert policy.victim() == twin.victim(name)
        else:
            getattr(policy, str(step[0]))(*step[1:])
            getattr(twin, str(step[0]))(*step[1:])
        assert len(policy) == len(twin.items)


@pytest.mark.parametrize("name", POLICIES)
@given(steps=steps)
def test_each_key_leaves_once_and_only_once(name: str, steps: list[tuple[object, ...]]) -> None:
    policy = POLICIES[name](LIMIT)
    there: set[object] = set()
    for step in steps:
        if step[0] == "victim":
            victim = policy.victim()
            assert (victim is None) == (not there)
            assert victim is None or victim in there
            there.discard(victim)
        else:
            getattr(policy, str(step[0]))(*step[1:])
            there = there | {step[1]} if step[0] == "add" else there - {step[1]} if step[0] == "remove" else there
        assert len(policy) == len(there)
    while there:
        there.remove(policy.victim())
    assert policy.victim() is None


@pytest.mark.parametrize("name", POLICIES)
def test_many_hits_on_few_entries_take_no_memory(name: str) -> None:
    """The heap of `gdsf` is swept: what hits leave behind does not grow."""
    policy = POLICIES[name](LIMIT)
    for key in "abc":
        policy.add(key, Item(10, 1.0))
    for _ in range(1000):
        policy.hit("a")
    assert len(getattr(policy, "_heap", [])) < 100
    policy.hit("a")
    assert policy.victim() in "bc"  # type: ignore[operator]
