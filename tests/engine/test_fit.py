"""How slots and context are reduced when memory is short, in which order, and what the user is told."""

import hypothesis.strategies as st
import pytest
from hypothesis import given
from llmctld.engine.errors import LoadError
from llmctld.engine.fit import LEAST_CONTEXT, MemoryNeeds, Shape, fit, notice

MIB = 2**20


def test_shape_that_fits_is_unchanged() -> None:
    wanted, memory = Shape(4, 2048), MemoryNeeds(limit=100 * MIB, fixed=10 * MIB, cell=1024)
    assert fit("m", wanted, memory) == wanted
    assert notice("m", wanted, wanted, memory) == ""


def test_slots_are_reduced_before_context() -> None:
    wanted, memory = Shape(4, 2048), MemoryNeeds(limit=15 * MIB, fixed=10 * MIB, cell=1024)
    shape = fit("m", wanted, memory)
    assert shape == Shape(2, 2048)
    told = "m: slots 4 -> 2, because it needs about 18.0 MiB, but may use only 15.0 MiB"
    assert notice("m", wanted, shape, memory) == told


def test_the_context_shrinks_when_one_slot_is_too_much() -> None:
    wanted, memory = Shape(4, 8192), MemoryNeeds(limit=11 * MIB, fixed=10 * MIB, cell=1024)
    shape = fit("m", wanted, memory)
    assert shape == Shape(1, 1024)
    assert "slots 4 -> 1, context 8192 -> 1024" in notice("m", wanted, shape, memory)


def test_model_that_cannot_fit_is_refused_with_needed_and_allowed_memory() -> None:
    with pytest.raises(LoadError, match=r"needs about 10\.5 MiB .* may use only 10\.2 MiB"):
        fit("m", Shape(4, 8192), MemoryNeeds(limit=10 * MIB + MIB // 4, fixed=10 * MIB, cell=1024))


def test_a_measurement_above_the_estimate_leads_to_a_smaller_shape() -> None:
    wanted, memory = Shape(4, 2048), MemoryNeeds(limit=20 * MIB, fixed=10 * MIB, cell=1024)
    assert fit("m", wanted, memory) == wanted
    corrected = memory.corrected(wanted, measured=22 * MIB)
    assert corrected.needs(wanted) == 22 * MIB
    assert fit("m", wanted, corrected) == Shape(3, 2048)


@given(
    st.integers(1, 8), st.integers(1, 20_000), st.integers(0, 64 * MIB), st.integers(0, 8 * MIB), st.integers(1, 9000)
)
def test_shape_fits_the_limit_and_never_exceeds_the_request(
    slots: int, context: int, limit: int, fixed: int, cell: int
) -> None:
    wanted, memory = Shape(slots, context), MemoryNeeds(limit, fixed, cell)
    try:
        shape = fit("m", wanted, memory)
    except LoadError:
        assert memory.needs(Shape(1, min(context, LEAST_CONTEXT))) > limit
        return
    assert memory.needs(shape) <= limit
    assert 1 <= shape.slots <= slots
    assert min(context, LEAST_CONTEXT) <= shape.context <= context
    assert shape.slots == 1 or shape.context == context


def test_sliding_window_layers_take_no_more_memory_for_a_longer_context() -> None:
    memory = MemoryNeeds(limit=100 * MIB, fixed=10 * MIB, cell=1024, near=4096, window=1024)
    assert memory.needs(Shape(2, 1024)) == 10 * MIB + 2 * (1 + 4) * MIB
    assert memory.needs(Shape(2, 8192)) == 10 * MIB + 2 * (8 + 4) * MIB
    assert memory.needs(Shape(2, 512)) == 10 * MIB + 5 * MIB
    assert fit("m", Shape(4, 8192, 4), memory) == Shape(4, 8192, 3)
    corrected = memory.corrected(Shape(2, 8192), measured=10 * MIB + 2 * 18 * MIB)
    assert (corrected.cell, corrected.near, corrected.window) == (1536, 6144, 1024)
    assert fit("m", Shape(1, 8192), MemoryNeeds(17 * MIB, 10 * MIB, 1024, 4096, 1024)) == Shape(1, 3072)
