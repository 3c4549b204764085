"""A trace played through an eviction policy, against a slow reference; and the format of traces."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmctld.cache.entries.context import Reuse, groups_of, template_of
from llmctld.cache.eviction import POLICIES
from llmctld.replay.trace import SECONDS, SIZE, TraceRequest, play, read

from llmctl.errors import InvalidRequest

requests = st.lists(
    st.builds(
        TraceRequest,
        key=st.sampled_from("abcdefgh"),
        size=st.sampled_from([10, 40, 70, 200]),
        seconds=st.sampled_from([0.5, 4.0]),
        cost=st.sampled_from([0.1, 0.3]),
    ),
    max_size=50,
)


def lru_twin(played: Sequence[TraceRequest], limit: int) -> tuple[int, float]:
    """Hits and seconds computed: a list, the last used at its end."""
    held: list[TraceRequest] = []
    hits, lost = 0, 0.0
    for request in played:
        found = [one for one in held if one.key == request.key]
        held = [one for one in held if one.key != request.key]
        hits += len(found)
        lost += 0.0 if found else request.seconds
        if found or request.size <= limit:
            held.append(found[0] if found else request)
        while sum(one.size for one in held) > limit:
            held.pop(0)
    return hits, lost


@given(requests)
def test_lru_equals_its_slow_reference_implementation(played: list[TraceRequest]) -> None:
    found = play(played, "lru", 100)
    hits, lost = lru_twin(played, 100)
    assert found.hits == hits
    assert found.recomputed_s == pytest.approx(lost)


@pytest.mark.parametrize("policy", POLICIES)
@given(requests)
def test_each_key_is_computed_once_if_everything_fits(policy: str, played: list[TraceRequest]) -> None:
    found = play(played, policy, 10**6)
    assert found.hits == len(played) - len({request.key for request in played})
    assert play(played, policy, 5).hits == 0, "and nothing is kept where nothing fits"


def test_costs_are_reported_only_if_each_request_has_one() -> None:
    assert play([TraceRequest("a", 1, 1.0, 0.5), TraceRequest("a", 1, 1.0, 0.5)], "gdsf", 10).recomputed_cost == 0.5
    assert play([TraceRequest("a", 1, 1.0, 0.5), TraceRequest("b", 1, 1.0)], "gdsf", 10).recomputed_cost is None


def test_value_is_the_cost_if_each_request_has_one() -> None:
    """One answer costs more, the other takes longer; there is room for one."""
    pair = [TraceRequest("dear", 60, 0.1, 9.0), TraceRequest("slow", 60, 30.0, 0.1)]
    assert play(pair * 3, "gdsf", 100).recomputed_cost == pytest.approx(9.3)
    assert play([request._replace(cost=None) for request in pair] * 3, "gdsf", 100).recomputed_s == pytest.approx(30.3)


# ---- reading --------------------------------------------------------------------------------------------------------


def lines(*given: object) -> list[bytes]:
    return [json.dumps(line).encode() for line in given]


def test_a_line_needs_a_key_or_a_prompt() -> None:
    one, two, three = read(lines({"key": "a"}, {"prompt": "why?", "bytes": 7, "more": 1}, {"prompt": "why?"}), "t")
    assert (one.key, one.size, one.seconds, one.cost) == ("a", SIZE, SECONDS, None)
    assert two.key == three.key != one.key
    assert two.size == 7


def test_a_trace_is_sorted_by_time_if_each_line_has_one() -> None:
    timed = lines({"key": "b", "at": 2}, {"key": "a", "at": 1})
    assert [request.key for request in read(timed, "t")] == ["a", "b"]
    assert [request.key for request in read([*timed, *lines({"key": "c"})], "t")] == ["b", "a", "c"]


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b'{"key": 1}', b'{"key": "a", "bytes": -1}', b'{"key": "a", "cost": "x"}', b"\xff", b"{}"]
)
def test_an_invalid_line_is_named(line: bytes) -> None:
    with pytest.raises(InvalidRequest, match="t, line 3"):
        read([*lines({"key": "a"}), b"\n", line], "t")


# ---- what belongs together ------------------------------------------------------------------------------------------


def test_importance_is_the_mean_reuse_of_the_groups_of_a_request() -> None:
    reuse = Reuse()
    for user, conversation, hit in (
        ("ana", "c1", True),
        ("ana", "c1", True),
        ("ana", "c2", False),
        ("ben", "c3", True),
    ):
        reuse.note(groups_of(user, conversation, None), hit)
    assert reuse.importance(groups_of("ana", "c1", None)) == pytest.approx((2 / 3 + 1) / 2)
    assert reuse.importance(groups_of("ana", "new", "new")) == pytest.approx(2 / 3)
    assert reuse.importance(groups_of("nobody", None, None)) == 0.0
    again = Reuse(reuse.state())
    assert again.importance(groups_of("ana", "c1", None)) == reuse.importance(groups_of("ana", "c1", None))
    assert Reuse(b"[]").importance(["user ana"]) == 0.0


def test_a_template_is_identified_by_its_system_prompt_and_placeholders() -> None:
    assert template_of(None, "why?", False) == ""
    assert template_of("Be brief.", "why?", False) == template_of("Be brief.", "how?", False) != ""
    assert template_of("Be brief.", "{a}?", True) != template_of("Be brief.", "{a}!", True)


def test_the_number_of_groups_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmctld.cache.entries.context.GROUPS", 3)
    reuse = Reuse()
    for number in range(10):
        reuse.note([f"user {number}"], True)
    assert [reuse.importance([f"user {number}"]) for number in range(10)] == [0.0] * 7 + [1.0] * 3
