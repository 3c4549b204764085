"""Which model is loaded next: single decisions on hand-written states, and whole traces compared with the optimum."""

import random
from typing import Any

import pytest
from llmctld.models.running.load_plan import Demand, LoadPlan, MemorySize, Resident, decide, value

from tests.hub.traces import Request, fewest, mixed, play

LIMIT = MemorySize(10)


def resident(name: str, host: int = 5, **how: Any) -> Resident:
    return Resident(name, name, MemorySize(host), **how)


def demand(name: str, host: int = 5, since: float = 0.0) -> Demand:
    return Demand(name, MemorySize(host), since)


def test_fitting_model_is_loaded_without_eviction() -> None:
    assert decide(0, LIMIT, [resident("a")], [demand("b")], 20) == LoadPlan(["b"], [])


def test_limit_counts_bytes_not_models() -> None:
    small = [resident(name, 1) for name in "abcdefgh"]
    assert decide(0, LIMIT, small, [demand("z", 2)], 20) == LoadPlan(["z"], [])
    assert len(decide(0, LIMIT, small, [demand("z", 9)], 20).evict) == 7


def test_idle_models_are_evicted() -> None:
    books = [resident("busy", leases=1), resident("idle")]
    assert decide(0, LIMIT, books, [demand("b")], 20) == LoadPlan([], ["idle"])


@pytest.mark.parametrize("how", [{"leases": 1}, {"loading": True, "waiting": 1}])
def test_busy_and_loading_models_are_not_evicted(how: dict[str, Any]) -> None:
    books = [resident("a", **how), resident("b", **how)]
    assert decide(0, LIMIT, books, [demand("c")], 20) == LoadPlan([], [])


def test_load_that_no_request_waits_for_is_cancelled() -> None:
    assert decide(0, LIMIT, [resident("a", loading=True), resident("b", leases=1)], [demand("c")], 20).evict == ["a"]


def test_after_max_wait_a_busy_model_is_evicted() -> None:
    books = [resident("a", leases=3, used=9), resident("b", leases=1, used=1)]
    assert decide(19.9, LIMIT, books, [demand("c")], 20) == LoadPlan([], [])
    assert decide(20.0, LIMIT, books, [demand("c")], 20) == LoadPlan([], ["b"])


def test_pinned_model_is_never_evicted() -> None:
    assert decide(999, LIMIT, [resident("a", 10, pinned=True)], [demand("c")], 20).evict == []


def test_memory_reserved_for_the_oldest_group_is_not_given_away() -> None:
    books = [resident("a", leaving=True, leases=1), resident("b", leases=1)]
    demands = [demand("young", 5, since=5), demand("old", 5, since=1)]
    assert decide(30, LIMIT, books, demands, 20) == LoadPlan([], ["b"]), "each demand gets memory for one model"
    books[1] = resident("b", pinned=True)
    assert decide(30, LIMIT, books, demands, 20) == LoadPlan([], [])


def test_unreserved_memory_is_used() -> None:
    books = [resident("a", 6, leases=1)]
    demands = [demand("large", 8, since=0), demand("small", 3, since=1)]
    assert decide(2, LIMIT, books, demands, 20) == LoadPlan(["small"], [])
    assert decide(21, LIMIT, books, demands, 20) == LoadPlan([], ["a"]), "but not if another demand has waited too long"


def test_model_larger_than_the_limit_gets_all_available_memory() -> None:
    """It is shrunk to fit when it is loaded."""
    books = [resident("a", 3, pinned=True), resident("b", 4)]
    assert decide(0, LIMIT, books, [demand("c", 99)], 20) == LoadPlan([], ["b"])
    assert decide(0, LIMIT, books[:1], [demand("c", 99)], 20) == LoadPlan(["c"], [])


def test_replica_does_not_evict_its_own_model() -> None:
    assert decide(99, LIMIT, [resident("a", 8)], [demand("a", 8)], 20).evict == []


def test_host_and_gpu_memory_are_counted_separately() -> None:
    limit = MemorySize(10, 10)
    books = [Resident("h", "h", MemorySize(10, 0)), Resident("g", "g", MemorySize(0, 10))]
    assert decide(0, limit, books, [Demand("b", MemorySize(0, 5), 0)], 20) == LoadPlan([], ["g"])
    assert decide(0, limit, books, [Demand("b", MemorySize(5, 0), 0)], 20) == LoadPlan([], ["h"])
    assert decide(0, limit, books, [Demand("b", MemorySize(5, 5), 0)], 20) == LoadPlan([], ["h", "g"])


def test_model_value_is_the_saved_load_time_per_byte() -> None:
    base = resident("a", 5, used=0, load_s=2)
    for change in ({"used": 50.0}, {"load_s": 9.0}, {"waiting": 3}, {"room": MemorySize(1)}):
        assert value(base._replace(**change), 100) > value(base, 100), change


def test_a_burst_over_three_models_with_room_for_one_takes_three_loads() -> None:
    """The sequence A B A A C A B C from a public complaint: first in, first out loads six times."""
    played = play([Request(0.1 * at, name, 1.0) for at, name in enumerate("ABAACABC")], room=1, max_wait=20)
    assert played.loads == 3


@pytest.mark.parametrize("gap_s", [0.0, 1.0, 2.0, 4.0])
def test_the_number_of_loads_is_near_the_minimum(gap_s: float) -> None:
    for seed in range(12):
        trace = mixed(random.Random(seed), 12, "ABC", gap_s, (1, 4))
        assert play(trace, 2, 20.0).loads <= 1.5 * fewest(trace, 2, 20.0), (seed, trace)


@pytest.mark.parametrize("max_wait", [3.0, 10.0])
def test_waiting_is_bounded_by_max_wait_plus_a_generation(max_wait: float) -> None:
    """One model is requested all the time; requests for others are still served, at the cost of both loads."""
    for seed in range(8):
        dice = random.Random(seed)
        steady = [Request(0.5 * at, "A", 2.0) for at in range(200)]
        others = [Request(float(dice.randrange(80)), name, 1.0) for name in "BC" * 5]
        trace = sorted(steady + others)
        waits = play(trace, 1, max_wait).waits
        for request, wait in zip(trace, waits, strict=True):
            others_first = 2 if request.model != "A" else 3  # requests that had waited longer, each with its own load
            assert wait <= others_first * (max_wait + 2.0 + 1.0), (seed, request, wait)
