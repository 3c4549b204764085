"""Which replica a request goes to."""

from llmctld.models.running.prefix_affinity import BLOCK, BLOCKS, PrefixAffinity

LONG = "".join(chr(97 + place * 7 % 26) for place in range(BLOCK * 8))


def test_the_replica_with_the_longest_common_prefix_is_chosen() -> None:
    affinity: PrefixAffinity[int] = PrefixAffinity()
    first = affinity.choose(LONG, [(0, 0), (1, 0)], 2)
    other = 1 - first
    assert affinity.choose("z" * BLOCK * 4, [(first, 1), (other, 0)], 2) == other, (
        "with nothing in common, the idle one"
    )
    assert affinity.choose(LONG + " and?", [(first, 2), (other, 0)], 2) == first
    assert affinity.choose(LONG[: BLOCK * 3] + "!" * BLOCK * 9, [(first, 2), (other, 0)], 2) == first


def test_a_replica_busier_than_the_margin_is_not_chosen() -> None:
    affinity: PrefixAffinity[int] = PrefixAffinity()
    affinity.choose(LONG, [(0, 0)], 2)
    assert affinity.choose(LONG, [(0, 2), (1, 0)], 2) == 0
    assert affinity.choose(LONG, [(0, 3), (1, 0)], 2) == 1


def test_the_same_block_at_another_position_is_a_different_prefix() -> None:
    affinity: PrefixAffinity[int] = PrefixAffinity()
    affinity.choose("a" * BLOCK + "b" * BLOCK, [(0, 0)], 2)
    assert affinity.choose("b" * BLOCK, [(0, 1), (1, 0)], 2) == 1


def test_a_short_prompt_goes_to_the_least_busy_replica() -> None:
    affinity: PrefixAffinity[int] = PrefixAffinity()
    affinity.choose("hello", [(0, 0)], 4)
    assert affinity.choose("hello", [(0, 1), (1, 0)], 4) == 1


def test_remembered_prefixes_are_limited_and_dropped_with_their_replica() -> None:
    affinity: PrefixAffinity[int] = PrefixAffinity()
    affinity.choose(LONG, [(0, 0)], 2)
    affinity.choose("".join(f"{place:06d}" for place in range(BLOCKS * BLOCK // 6 + BLOCK)), [(0, 0)], 2)
    assert len(affinity._seen[0]) == BLOCKS
    affinity.forget(0)
    assert not affinity._seen
