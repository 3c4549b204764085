"""The range of every field, at its boundaries and beyond them."""

from math import inf, nan
from typing import Any

import pytest
from llmctld.call.call import compose
from llmctld.call.ranges import RANGES
from llmctld.pipeline.intake.validate import check, validate

from llmctl.config import Limits
from llmctl.errors import InvalidRequest
from llmctl.wire import CACHE_MODES, File, Generate
from tests.hub.scene import Speaker, a_call, answer_of, events_of, in_loop

INT = 2**31 - 1

EDGES: dict[str, tuple[list[Any], list[Any]]] = {
    "max_tokens": ([1, 2048, INT], [0, -1, INT + 1]),
    "temperature": ([0.0, 0.7, 2.0], [-0.001, 2.001, inf, -inf, nan]),
    "top_p": ([1e-9, 1.0], [0.0, -0.5, 1.001, inf, nan]),
    "top_k": ([0, 40, INT], [-1, INT + 1]),
    "min_p": ([0.0, 1.0], [-0.001, 1.001, inf, nan]),
    "repeat_penalty": ([0.001, 1.0, 10.0], [0.0, -1.0, 10.001, inf, nan]),
    "presence_penalty": ([-2.0, 0.0, 2.0], [-2.001, 2.001, inf, nan]),
    "frequency_penalty": ([-2.0, 0.0, 2.0], [-2.001, 2.001, inf, nan]),
    "seed": ([0, 1, 2**32 - 1], [-1, 2**32]),
    "max_age": ([0.0, 1.5, inf], [-0.001, -inf, nan]),
    "extract": (["first", "last"], ["", "First", "all"]),
    "adapters": ([{}, {"a": 100.0, "b": -100.0}], [{"a": 100.1}, {"a": nan}, {"a": 1.0, "b": -inf}]),
    "think": (["on", "off", "low", "medium", "high"], ["", "On", "max", "true"]),
    "overflow": (["error", "head", "middle", "tail"], ["", "Head", "front"]),
    "priority": (["high", "normal", "batch"], ["", "High", "low"]),
    "keep_alive": ([0.0, 1.5, -1.0], [-0.5, -2.0, nan, inf, 1e12]),
    "n": ([1, 64], [0, -1, 65, 1000]),
    "logprobs": ([0, 20], [-1, 21]),
    "cache": (list(CACHE_MODES), ["", "AUTO", "never"]),
    "user": (["", "ana", "x" * 128], ["x" * 129, "a\nb", "\x1b[31m"]),
    "tags": ([[], ["x", "y z"]], [[""], [" "], ["a\nb"]]),
    "stop": ([[], ["x"], ["x", "\n"]], [[""], ["x", ""]]),
    "logit_bias": (
        [{}, {"1": 100.0}, {"1": -100.0, "a": 0.0}],
        [{"1": 100.001}, {"1": -100.001}, {"1": nan}, {"1": inf}, {"1": 0.0, "2": -inf}],
    ),
}
"""Field -> (values at the edges, values beyond them)"""


def test_every_range_has_boundary_cases_in_this_file() -> None:
    assert EDGES.keys() == RANGES.keys()
    assert RANGES.keys() <= set(Generate.__struct_fields__)


INSIDE = [(name, value) for name, (inside, _) in EDGES.items() for value in inside]
BEYOND = [(name, value) for name, (_, beyond) in EDGES.items() for value in beyond]


@pytest.mark.parametrize(("name", "value"), INSIDE, ids=str)
def test_a_value_at_the_boundary_is_accepted(name: str, value: Any) -> None:
    check(Generate(prompt="x", **{name: value}), Limits())


@pytest.mark.parametrize(("name", "value"), BEYOND, ids=str)
def test_a_value_out_of_range_is_refused_with_field_value_and_range(name: str, value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check(Generate(prompt="x", **{name: value}), Limits())
    assert caught.value.message == f"{name} is {value!r}; it must be {RANGES[name][1]}"
    assert caught.value.status == 5


def test_omitted_values_are_valid_in_every_range() -> None:
    check(Generate(), Limits())


@pytest.mark.parametrize("name", ["a", "talk-1", "A.b:c_d", "x" * 64])
def test_valid_conversation_names_are_accepted(name: str) -> None:
    check(Generate(prompt="x", conversation=name), Limits())


@pytest.mark.parametrize("name", ["", " ", "a b", "../x", "x" * 65, "-x", ".x", "a\n", "ä"])
def test_invalid_conversation_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match="conversation"):
        check(Generate(prompt="x", conversation=name), Limits())


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"prompt": "x", "conversation": "talk", "continue_last": True}, "exclude each other"),
        ({"tokens": []}, "not empty"),
        ({"tokens": [1, -1]}, "none below 0"),
        ({"tokens": [1], "prompt": "x"}, "exclude"),
        ({"tokens": [1], "prompt": ""}, "exclude"),
        ({"tokens": [1], "stdin": ""}, "exclude"),
        ({"tokens": [1], "files": [File("a", "b")]}, "exclude"),
        ({"tokens": [1], "conversation": "talk"}, "exclude"),
        ({"tokens": [1], "continue_last": True}, "exclude"),
    ],
    ids=str,
)
def test_mutually_exclusive_fields_are_refused(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        check(Generate(**fields), Limits())


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "x" * 10},
        {"prompt": "ä" * 5},
        {"prompt": "xx", "stdin": "xx", "system": "xx", "files": [File("name", "xx"), File("name", "xx")]},
        {"prompt": "{a}{b}", "params": {"a": "xx"}, "declared": {"b": "xx", "c": None}},
    ],
    ids=str,
)
def test_the_prompt_limit_counts_the_bytes_of_all_given_texts(fields: dict[str, Any]) -> None:
    check(Generate(**fields), Limits(prompt_bytes=10))  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match=r"10 bytes; limits\.prompt_bytes is 9"):
        check(Generate(**fields), Limits(prompt_bytes=9))  # type: ignore[arg-type]


def test_the_prompt_limit_applies_to_token_ids_too() -> None:
    check(Generate(tokens=[1] * 10), Limits(prompt_bytes=80))  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match="prompt_bytes"):
        check(Generate(tokens=[1] * 11), Limits(prompt_bytes=80))  # type: ignore[arg-type]


@in_loop
async def test_validation_refuses_before_any_later_stage_runs() -> None:
    speaker = Speaker("x")
    stage = compose([validate(Limits())], speaker)
    with pytest.raises(InvalidRequest):
        await events_of(stage, a_call(prompt="x", temperature=9.0))
    assert not speaker.calls
    assert (await answer_of(stage, a_call(prompt="x"))).text == "x"
