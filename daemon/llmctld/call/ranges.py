"""The range of each field of a request. The error for a value out of range names field, value and range."""

from collections.abc import Callable
from typing import Any

from llmctl.config import LONGEST_S
from llmctl.errors import InvalidRequest
from llmctl.wire import CACHE_MODES, EXTRACTS, OVERFLOWS, PRIORITIES, THINK


def between(low: float, high: float) -> tuple[Callable[[Any], bool], str]:
    return lambda value: low <= value <= high, f"between {low} and {high}"


def one_of(*words: str) -> tuple[Callable[[Any], bool], str]:
    return lambda value: value in words, f"one of {', '.join(words)}"


RANGES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_tokens": between(1, 2**31 - 1),
    "temperature": between(0, 2),
    "top_p": (lambda value: 0 < value <= 1, "above 0 and at most 1"),
    "top_k": between(0, 2**31 - 1),
    "min_p": between(0, 1),
    "repeat_penalty": (lambda value: 0 < value <= 10, "above 0 and at most 10"),
    "presence_penalty": between(-2, 2),
    "frequency_penalty": between(-2, 2),
    "seed": between(0, 2**32 - 1),
    "max_age": (lambda value: value >= 0, "0 seconds or more"),
    "extract": one_of(*EXTRACTS),
    "n": between(1, 64),
    "logprobs": between(0, 20),
    "cache": one_of(*CACHE_MODES),
    "adapters": (
        lambda value: all(-100 <= scale <= 100 for scale in value.values()),
        "scales between -100 and 100",
    ),
    "priority": one_of(*PRIORITIES),
    "think": one_of(*THINK),
    "overflow": one_of(*OVERFLOWS),
    "user": (lambda value: value.isprintable() and len(value) <= 128, "at most 128 printable characters"),
    "keep_alive": (lambda value: 0 <= value <= LONGEST_S or value == -1, f"0 to {LONGEST_S} seconds, or -1 (forever)"),
    "tags": (
        lambda value: all(tag.strip() and tag.isprintable() for tag in value),
        "printable words that are not empty",
    ),
    "stop": (all, "texts that are not empty"),
    "logit_bias": (lambda value: all(-100 <= bias <= 100 for bias in value.values()), "biases between -100 and 100"),
}
"""Field -> (whether a value is in range, the range in words). None means not given. NaN is in no range."""


def check_field(name: str, value: Any) -> None:
    """Raises InvalidRequest where the value is not in the field's range."""
    in_range, words = RANGES[name]
    if value is not None and not in_range(value):
        raise InvalidRequest(f"{name} is {value!r}; it must be {words}")
