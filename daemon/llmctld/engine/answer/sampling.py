"""Sampling options of a request, for any backend: defaults, penalties, checks, log-probabilities.

Drawing a token is up to the backend (llama/sampler.py, answer/choice.py).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from llmctld.engine.errors import Refusal
from llmctld.engine.forms.grammar import Grammar
from llmctld.engine.messages import Scored, Submit

if TYPE_CHECKING:
    from llguidance import LLTokenizer

PENALTY_WINDOW = 64
"""Number of last tokens that the penalties consider."""


class Words(Protocol):
    """The part of a vocabulary that sampling needs."""

    @property
    def words(self) -> "LLTokenizer":
        """The tokenizer in the form that the grammar library takes."""

    def shown(self, token: int) -> str:
        """A token as text for display."""


@dataclass(frozen=True)
class SamplingDefaults:
    """Sampling values for requests that set none: from the model file, else these."""

    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 40
    min_p: float = 0.05
    repeat_penalty: float = 1.0

    @classmethod
    def named_by(cls, metadata: Mapping[str, str]) -> "SamplingDefaults":
        names = {"temperature": "temp", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p"}
        found = {field: _number(metadata.get(f"general.sampling.{name}", "")) for field, name in names.items()}
        given = {field: value for field, value in found.items() if value is not None}
        plain = cls()
        return cls(
            temperature=given.get("temperature", plain.temperature),
            top_p=given.get("top_p", plain.top_p),
            top_k=int(given.get("top_k", plain.top_k)),
            min_p=given.get("min_p", plain.min_p),
        )

    @classmethod
    def of(cls, generation: Any) -> "SamplingDefaults":
        """Defaults of a transformers folder (its GenerationConfig)."""
        plain = cls()
        return cls(
            temperature=_given(generation.temperature, plain.temperature),
            top_p=_given(generation.top_p, plain.top_p),
            top_k=int(_given(generation.top_k, plain.top_k)),
            min_p=_given(generation.min_p, plain.min_p),
            repeat_penalty=_given(generation.repetition_penalty, plain.repeat_penalty),
        )


def _given(value: float | None, default: float) -> float:
    return default if value is None else float(value)


NO_PENALTIES = (1.0, 0.0, 0.0)


def penalties(submit: Submit, repeat_penalty: float = 1.0) -> tuple[float, float, float]:
    """(repeat, frequency, presence); `repeat_penalty` is the default for the first."""
    repeat = repeat_penalty if submit.repeat_penalty is None else submit.repeat_penalty
    return repeat, submit.frequency_penalty or 0.0, submit.presence_penalty or 0.0


def score(logits: NDArray[np.float32], token: int, top: int, vocabulary: Words) -> Scored:
    """Log-probabilities of `token` and of the `top` likeliest tokens, before sampling options change them."""
    exact = logits.astype(np.float64)
    largest = float(exact.max())
    logprobs = exact - (largest + math.log(np.exp(exact - largest).sum()))
    best = np.argpartition(-logprobs, min(top, len(logprobs) - 1))[:top] if top else np.zeros(0, np.intp)
    ordered = sorted((int(each) for each in best), key=lambda each: (-logprobs[each], each))
    likeliest = [(vocabulary.shown(each), float(logprobs[each])) for each in ordered]
    return Scored(vocabulary.shown(token), float(logprobs[token]) if token >= 0 else -math.inf, likeliest)


def grammar_of(submit: Submit, vocabulary: Words) -> Grammar | None:
    if submit.schema is None and submit.grammar is None:
        return None
    return Grammar(vocabulary.words, submit.schema, submit.grammar)


def check(submit: Submit) -> None:
    """Refuse values on which the library would abort the process."""
    numbers = (submit.temperature, submit.top_p, submit.min_p, submit.frequency_penalty, submit.presence_penalty)
    if not all(number is None or math.isfinite(number) for number in numbers):
        raise Refusal("invalid_request", "a sampling option is not a finite number")
    repeat = submit.repeat_penalty
    if repeat is not None and not 0 < repeat < math.inf:
        raise Refusal("invalid_request", f"repeat_penalty is {repeat}, but must be above 0")


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
