"""Which replica a request goes to."""

from llmctld.models.running.prefix_affinity import BLOCK, BLOCKS, PrefixAffinity

LONG = "".join(chr(97 + place * 7 % 26) for place in range(BLOCK * 8))


def test_the_one_with_the_longest_common_beginning() -> None:
    affinity: PrefixAffinity[int] = PrefixAffinity()
    first = affinity.choose(LONG, [(0, 0), (1, 0)], 2)
    other = 1 - first
    assert affinity.choose("z" * BLOCK * 4, [(first, 1), (other, 0)], 2) == other, (
        "with nothing in common, the idle one"
    )
    assert affinity.choose(LONG + " and?", [(first, 2), (other, 0)], 2) == first
    assert affinity.choose(LONG[: BLOCK * 3] + "!" * BLOCK * 9, [(first, 2), (other, 0)], 2) == first


def test_unless_it_is_busier_by_more_than_the_margin() -> None:
    affinity: PrefixAffinity[int] = PrefixAffinity()
    affinity.choose(LONG, [(0, 0)], 2)
    assert affinity.choose(LONG, [(0, 2), (1, 0)], 2) == 0
    assert affinity.choose(LONG, [(0, 3), (1, 0)], 2) == 1


def test_a_block_in_another_place_is_another_block() -> None:
    affinity: PrefixAffinity[int] = PrefixAffinity()
    affinity.choose("a" * BLOCK + "b" * BLOCK, [(0, 0)], 2)
    assert affinity.choose("b" * BLOCK, [(0, 1), (1, 0)], 2) == 1


def test_what_is_short_goes_to_who_has_least_to_do() -> None:
    affinity: PrefixAffinity[int] = PrefixAffinity()
    affinity.choose("hello", [(0, 0)], 4)
    assert affinity.choose("hello", [(0, 1), (1, 0)], 4) == 1


def test_what_is_remembered_is_limited_and_forgotten_with_the_replica() -> None:
    affinity: PrefixAffinity[int] = PrefixAffinity()
    affinity.choose(LONG, [(0, 0)], 2)
    affinity.choose("".join(f"{place:06d}" for place in range(BLOCKS * BLOCK // 6 + BLOCK)), [(0, 0)], 2)
    assert len(affinity._seen[0]) == BLOCKS
    affinity.forget(0)
    assert not affinity._seen
