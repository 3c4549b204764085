"""How the next token is chosen: one llama.cpp sampler chain per request, in llama.cpp's own order.

It knows the request's numbers and the file's defaults for them, and nothing of batches and text.
"""

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import llama_cpp.llama_cpp as lib

from llmctld.engine.backend import Refusal
from llmctld.engine.messages import Submit

PENALTY_WINDOW = 64
RANDOM_SEED = 0xFFFFFFFF
"""llama.cpp's word for "seed yourself"; no seed of a user's may mean that."""


@dataclass(frozen=True)
class Defaults:
    """What holds where a request names nothing: the file's own values, else these."""

    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 40
    min_p: float = 0.05

    @classmethod
    def named_by(cls, metadata: Mapping[str, str]) -> "Defaults":
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


class Sampler:
    """`bias`: token -> what is added to its logit. `prompt` counts for the penalties, as far as they look back."""

    def __init__(
        self, submit: Submit, defaults: Defaults, vocabulary: int, bias: Mapping[int, float], prompt: list[int]
    ) -> None:
        _check(submit)
        parameters = lib.llama_sampler_chain_default_params()
        parameters.no_perf = True
        self._chain: Any = lib.llama_sampler_chain_init(parameters)
        if bias:
            pairs = (lib.llama_logit_bias * len(bias))(*bias.items())
            self._add(lib.llama_sampler_init_logit_bias(vocabulary, len(bias), pairs))
        repeat = 1.0 if submit.repeat_penalty is None else submit.repeat_penalty
        frequency, presence = submit.frequency_penalty or 0.0, submit.presence_penalty or 0.0
        if (repeat, frequency, presence) != (1.0, 0.0, 0.0):
            self._add(lib.llama_sampler_init_penalties(vocabulary, PENALTY_WINDOW, repeat, frequency, presence))
            for token in prompt[-PENALTY_WINDOW:]:
                lib.llama_sampler_accept(self._chain, token)
        self._choose(submit, defaults)

    def sample(self, context: Any, row: int) -> int:
        """The token after row `row` of the last batch, accepted."""
        token: int = lib.llama_sampler_sample(self._chain, context, row)
        return token

    def free(self) -> None:
        lib.llama_sampler_free(self._chain)

    def _choose(self, submit: Submit, defaults: Defaults) -> None:
        temperature = defaults.temperature if submit.temperature is None else submit.temperature
        if temperature <= 0:
            self._add(lib.llama_sampler_init_greedy())
            return
        self._add(lib.llama_sampler_init_top_k(defaults.top_k if submit.top_k is None else submit.top_k))
        self._add(lib.llama_sampler_init_top_p(defaults.top_p if submit.top_p is None else submit.top_p, 1))
        self._add(lib.llama_sampler_init_min_p(defaults.min_p if submit.min_p is None else submit.min_p, 1))
        self._add(lib.llama_sampler_init_temp(temperature))
        seed = secrets.randbelow(RANDOM_SEED) if submit.seed is None else submit.seed % RANDOM_SEED
        self._add(lib.llama_sampler_init_dist(seed))

    def _add(self, sampler: Any) -> None:
        lib.llama_sampler_chain_add(self._chain, sampler)


def _check(submit: Submit) -> None:
    """What the library would answer with an abort of the process."""
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
