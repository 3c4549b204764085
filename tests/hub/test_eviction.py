"""Each policy compared with a slow reference that scans everything; and the contract of all policies."""

import random
from collections.abc import Callable
from itertools import count
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmctld.cache.eviction import POLICIES, Item
from llmctld.cache.eviction.frequency import MOST, SMALL, Sketch
from llmctld.cache.eviction.value import FIRST, HALF_LIFE
from llmctld.cache.eviction.weighted import SAMPLE, WEIGHTS, Weighted

from llmctl.config import Cache

LIMIT = 1000
keys = st.sampled_from("abcdefgh")
items = st.builds(
    Item,
    size=st.sampled_from([1, 10, 90, 250]),
    seconds=st.sampled_from([0.1, 0.5, 2.0, 30.0]),
    frequency=st.integers(0, 3),
    context=st.sampled_from([0.0, 0.25, 1.0]),
)
steps = st.lists(
    st.tuples(st.just("add"), keys, items)
    | st.tuples(st.just("hit"), keys)
    | st.tuples(st.just("remove"), keys)
    | st.tuples(st.just("victim")),
    max_size=80,
)
Step = tuple[Any, ...]


class Twin:
    """The slow reference: the items in order of arrival, and a clock."""

    def __init__(self) -> None:
        self.items: dict[str, Item] = {}

    def add(self, key: str, item: Item) -> None:
        self.items[key] = item
        self.used(key, item)

    def hit(self, key: str) -> None:
        if key in self.items:
            self.used(key, None)

    def remove(self, key: str) -> None:
        self.items.pop(key, None)

    def victim(self) -> str | None:
        victim = self.choose() if self.items else None
        if victim is not None:
            del self.items[victim]
        return victim

    def used(self, key: str, item: Item | None) -> None:
        """Counts a use of the key: with `item` it was added, otherwise hit."""

    def choose(self) -> str:
        raise NotImplementedError


class LruTwin(Twin):
    def __init__(self) -> None:
        super().__init__()
        self.clock, self.last = count(), dict[str, int]()

    def used(self, key: str, item: Item | None) -> None:
        self.last[key] = next(self.clock)

    def choose(self) -> str:
        return min(self.items, key=lambda key: self.last[key])


class GdsfTwin(LruTwin):
    """Sums over all uses of a key, each by age. Evicted keys are remembered, removed ones are not."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.uses = 0.0, dict[str, list[tuple[float, float]]]()

    def used(self, key: str, item: Item | None) -> None:
        super().used(key, item)
        uses = self.uses.setdefault(key, [(self.now, float(item.frequency))] if item else [])
        self.now += 1 / (HALF_LIFE * 100)
        uses.append((self.now, 1.0))

    def remove(self, key: str) -> None:
        if key in self.items:
            del self.items[key], self.uses[key]

    def value(self, key: str) -> float:
        item, then = self.items[key], self.uses[key][-1][0]
        uses = sum(weight * 2 ** (at - then) for at, weight in self.uses[key]) - FIRST
        return float(uses * 2**then * item.seconds / item.size)

    def choose(self) -> str:
        return min(self.items, key=lambda key: (round(self.value(key), 9), self.last[key]))


class SieveTwin(Twin):
    """A list, oldest first, and the key that the hand points to."""

    def __init__(self) -> None:
        super().__init__()
        self.queue, self.visited, self.hand = list[str](), set[str](), 0
        self.newest, self.fresh = "", False

    def used(self, key: str, item: Item | None) -> None:
        if item is not None and key not in self.queue:
            self.queue.append(key)
            self.visited.discard(key)
        else:
            self.visited.add(key)

    def remove(self, key: str) -> None:
        if key in self.items:
            place = self.queue.index(key)
            self.hand -= place < self.hand
            self.queue.remove(key)
        super().remove(key)

    def choose(self) -> str:
        fresh = self.queue[-1] if self.fresh else None
        old = self.queue[:-1] if self.fresh else self.queue
        if not old:
            assert fresh is not None
            victim = fresh
        else:
            self.hand = self.hand if self.hand < len(old) else 0
            while old[self.hand] in self.visited:
                self.visited.discard(old[self.hand])
                self.hand = (self.hand + 1) % len(old)
            victim = old[self.hand]
        self.queue.remove(victim)
        return victim

    def add(self, key: str, item: Item) -> None:
        new = key not in self.items
        super().add(key, item)
        self.newest = key if new else self.newest

    def victim(self) -> str | None:
        self.fresh = self.newest in self.items
        return super().victim()


class WeightedTwin(Twin):
    def __init__(self) -> None:
        super().__init__()
        self.uses, self.places = dict[str, int](), list[str]()

    def used(self, key: str, item: Item | None) -> None:
        if item is None:
            self.uses[key] += 1
            return
        before = self.uses[key] - 1 if key in self.places else 0
        self.uses[key] = max(item.frequency, before) + 1
        self.leave(key)
        self.places.append(key)

    def leave(self, key: str) -> None:
        """Removes like the list that samples are drawn from: the last item takes the free place."""
        if key in self.places:
            place, last = self.places.index(key), self.places.pop()
            if last != key:
                self.places[place] = last

    def remove(self, key: str) -> None:
        super().remove(key)
        self.leave(key)

    def choose(self) -> str:
        factors = {key: (item.seconds, self.uses[key], item.size, item.context) for key, item in self.items.items()}
        ranges = [(min(column), max(column)) for column in zip(*factors.values(), strict=True)]

        def priority(key: str) -> float:
            scaled = [
                (value - least) / (most - least) if most > least else 0.0
                for value, (least, most) in zip(factors[key], ranges, strict=True)
            ]
            return sum(weight * value for weight, value in zip(WEIGHTS, scaled, strict=True))

        victim = min(self.items, key=lambda key: (round(priority(key), 9), self.places.index(key)))
        self.leave(victim)
        return victim


class S3Twin(Twin):
    """Lists of keys as in the paper: small, main, ghost."""

    def __init__(self) -> None:
        super().__init__()
        self.small, self.main, self.ghosts = list[str](), list[str](), list[tuple[str, int]]()
        self.uses, self.fresh = dict[str, int](), ""

    def add(self, key: str, item: Item) -> None:
        uses = self.uses[key] if key in self.items else 0
        self.remove(key)
        self.settle()
        self.items[key], self.uses[key], self.fresh = item, uses, key

    def settle(self) -> None:
        if self.fresh:
            known = [ghost for ghost in self.ghosts if ghost[0] == self.fresh]
            (self.main if known else self.small).append(self.fresh)
            self.ghosts = [ghost for ghost in self.ghosts if ghost not in known]
        self.fresh = ""

    def used(self, key: str, item: Item | None) -> None:
        self.uses[key] = min(MOST, self.uses[key] + 1)

    def remove(self, key: str) -> None:
        super().remove(key)
        self.small = [other for other in self.small if other != key]
        self.main = [other for other in self.main if other != key]
        self.fresh = "" if self.fresh == key else self.fresh

    def choose(self) -> str:
        if not self.small and not self.main:
            self.settle()
        while True:
            filled = sum(self.items[key].size for key in self.small) >= SMALL * LIMIT
            if self.small and (filled or not self.main):
                key = self.small.pop(0)
                if self.uses[key] <= 1:
                    self.ghosts.append((key, self.items[key].size))
                    while sum(size for _, size in self.ghosts) > LIMIT - SMALL * LIMIT:
                        self.ghosts.pop(0)
                    return key
                self.uses[key] = 0
                self.main.append(key)
            else:
                key = self.main.pop(0)
                if not self.uses[key]:
                    return key
                self.uses[key] -= 1
                self.main.append(key)


TWINS: dict[str, Callable[[], Twin]] = {
    "lru": LruTwin,
    "gdsf": GdsfTwin,
    "sieve": SieveTwin,
    "s3fifo": S3Twin,
    "weighted": WeightedTwin,
}


@pytest.mark.parametrize("name", TWINS)
@given(steps=steps)
def test_policy_matches_its_slow_reference(name: str, steps: list[Step]) -> None:
    policy, twin = POLICIES[name](LIMIT), TWINS[name]()
    for step in steps:
        assert getattr(policy, step[0])(*step[1:]) == getattr(twin, step[0])(*step[1:])
        assert len(policy) == len(twin.items)


@pytest.mark.parametrize("name", POLICIES)
@given(steps=steps)
def test_each_key_is_evicted_exactly_once(name: str, steps: list[Step]) -> None:
    policy = POLICIES[name](LIMIT)
    there: set[str | None] = set()
    for step in steps:
        if step[0] == "victim":
            victim = policy.victim()
            assert (victim is None) == (not there)
            assert victim is None or victim in there
            there.discard(victim)
        else:
            getattr(policy, step[0])(*step[1:])
            there = there | {step[1]} if step[0] == "add" else there - {step[1]} if step[0] == "remove" else there
        assert len(policy) == len(there)
    while there:
        there.remove(policy.victim())
    assert policy.victim() is None


@pytest.mark.parametrize("name", POLICIES)
def test_hits_do_not_grow_the_heap(name: str) -> None:
    policy = POLICIES[name](LIMIT)
    for key in "abc":
        policy.add(key, Item(330, 1.0))
    for _ in range(1000):
        policy.hit("a")
    assert len(getattr(policy, "_heap", [])) < 100
    assert policy.victim() in ("b", "c")


# ---- W-TinyLFU: too much state for a twin; its parts and what it is for ---------------------------------------------


def test_wtinylfu_resists_a_scan() -> None:
    policy, used, there = POLICIES["wtinylfu"](LIMIT), 0, set[str]()
    for _ in range(3):
        for key in "abcdefghi":
            if key in there:
                policy.hit(key)
            else:
                policy.add(key, Item(100, 1.0))
                there.add(key)
    for number in range(100):
        key = f"once {number}"
        policy.add(key, Item(100, 1.0))
        there.add(key)
        while 100 * len(there) > LIMIT:
            victim = policy.victim()
            assert victim is not None
            there.remove(victim)
            used += 1
    assert used == 99
    assert set("abcdefghi") <= there


def test_wtinylfu_admits_more_frequent_keys() -> None:
    policy = POLICIES["wtinylfu"](LIMIT)
    for key in "abcdefghi":
        policy.add(key, Item(100, 1.0))
    for turn in range(2):
        policy.add("new", Item(100, 1.0))
        victim = policy.victim()
        assert (victim == "new") == (turn == 0), "the second time it is more frequent than entries without hits"
        policy.remove("new")


@given(st.lists(st.sampled_from("abcdefghijklmnop"), max_size=90))
def test_sketch_never_underestimates(seen: list[str]) -> None:
    sketch = Sketch(LIMIT)
    for key in seen:
        sketch.add(key, 1000)
    for key in set(seen):
        assert min(15, seen.count(key)) <= sketch.count(key)


def test_sketch_halves_its_counts() -> None:
    sketch = Sketch(LIMIT)
    for _ in range(8):
        sketch.add("often", 100)
    for number in range(1000):
        sketch.add(f"{number}", 100)
    assert sketch.count("often") in (4, 5)


# ---- the weighted priority at size: a sample instead of all ----------------------------------------------------------


def test_weighted_victim_is_among_the_least_valuable() -> None:
    draw, policy = random.Random(6), Weighted()
    for number in range(20 * SAMPLE):
        policy.add(f"{number}", Item(draw.randrange(1, 500), draw.random(), draw.randrange(9), draw.random()))
    ranks = []
    for _ in range(50):
        order = sorted(policy.priority(f"{number}") for number in range(20 * SAMPLE) if f"{number}" in policy._kept)
        before = {
            f"{number}": policy.priority(f"{number}") for number in range(20 * SAMPLE) if f"{number}" in policy._kept
        }
        victim = policy.victim()
        assert victim is not None
        ranks.append(order.index(before[victim]) / len(order))
    assert sum(ranks) / len(ranks) < 0.04


def test_eviction_setting_lists_exactly_the_policies() -> None:
    assert set(get_args(get_type_hints(Cache)["eviction"])) == set(POLICIES)
