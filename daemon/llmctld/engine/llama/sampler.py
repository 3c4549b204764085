"""Chooses the next token: one llama.cpp sampler chain per request, restricted by its schema or grammar.

A token that the grammar forbids never reaches the chain: the library would abort the process.
"""

import math
import secrets
from collections.abc import Mapping
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np
from numpy.typing import NDArray

from llmctld.engine.answer.sampling import (
    NO_PENALTIES,
    PENALTY_WINDOW,
    SamplingDefaults,
    check,
    grammar_of,
    penalties,
    score,
)
from llmctld.engine.errors import Refusal
from llmctld.engine.llama.vocabulary import Vocabulary
from llmctld.engine.messages import Scored, Submit

RANDOM_SEED = 0xFFFFFFFF
"""llama.cpp's value for a random seed; no user seed may equal it."""


class Sampler:
    """`bias`: token -> value added to its logit. `prompt` counts for the penalties.

    `scored` collects log-probabilities if the request asks for them; else None.
    """

    def __init__(
        self,
        submit: Submit,
        defaults: SamplingDefaults,
        vocabulary: Vocabulary,
        bias: Mapping[int, float],
        prompt: list[int],
    ) -> None:
        check(submit)
        self._vocabulary = vocabulary
        self._grammar = grammar_of(submit, vocabulary)
        self._banned = [token for token, value in bias.items() if value == -math.inf]
        self._bans = frozenset(self._banned) if len(self._banned) == len(bias) else None
        """The banned tokens if there is no other bias, else None."""
        self._top = submit.logprobs
        self.scored: list[Scored] | None = None if submit.logprobs is None else []
        self._biased = np.array(list(bias), np.int32), np.array(list(bias.values()), np.float32)
        self._chain: Any = (
            None if self._is_plain(submit, defaults) else self._make_chain(submit, defaults, bias, prompt)
        )

    def sample(self, context: Any, row: int, logits: NDArray[np.float32]) -> int:
        """Sample and accept the token after row `row` of the last batch; an end token if the grammar allows nothing else. May
        change `logits` (that row). Raises Refusal on NaN."""
        raw = logits.copy() if self._top is not None else logits
        token = self._sample(context, row, logits)
        if token >= 0 and math.isnan(raw.item(token)):
            message = "the model computed an invalid number (NaN) for the next token"
            raise Refusal(
                "engine_failed", message, "Its file may be damaged: download it again, or try another `kv_type`."
            )
        if self.scored is not None:
            self.scored.append(score(raw, token, self._top or 0, self._vocabulary))
        return token

    def _sample(self, context: Any, row: int, logits: NDArray[np.float32]) -> int:
        if self._grammar is None:
            return self._pick(context, row, logits)
        allowed = self._grammar.allowed()
        allowed[self._banned] = False
        if not allowed.any():
            return self._vocabulary.end
        logits[~allowed] = -math.inf
        token = self._pick(context, row, logits)
        return token if allowed[token] and self._grammar.take(token) else self._vocabulary.end

    def _pick(self, context: Any, row: int, logits: NDArray[np.float32]) -> int:
        """Greedy sampling here: the library's chain first copies all logits to a list of candidates, which takes 50 us."""
        if self._chain is not None:
            token: int = lib.llama_sampler_sample(self._chain, context, row)
            return token
        if self._bans is not None and (likeliest := int(logits.argmax())) not in self._bans:
            return likeliest
        tokens, values = self._biased
        logits[tokens] += values
        return int(logits.argmax())

    @staticmethod
    def _is_plain(submit: Submit, defaults: SamplingDefaults) -> bool:
        """Whether the request wants the likeliest token, independent of earlier tokens."""
        temperature = defaults.temperature if submit.temperature is None else submit.temperature
        return temperature <= 0 and penalties(submit) == NO_PENALTIES

    def _make_chain(
        self, submit: Submit, defaults: SamplingDefaults, bias: Mapping[int, float], prompt: list[int]
    ) -> Any:
        parameters = lib.llama_sampler_chain_default_params()
        parameters.no_perf = True
        self._chain = lib.llama_sampler_chain_init(parameters)
        self._bias(bias)
        self._penalise(submit, prompt)
        self._choose(submit, defaults)
        return self._chain

    def free(self) -> None:
        if self._chain is not None:
            lib.llama_sampler_free(self._chain)

    def _bias(self, bias: Mapping[int, float]) -> None:
        if bias:
            pairs = (lib.llama_logit_bias * len(bias))(*bias.items())
            self._add(lib.llama_sampler_init_logit_bias(self._vocabulary.size, len(bias), pairs))

    def _penalise(self, submit: Submit, prompt: list[int]) -> None:
        repeat, frequency, presence = penalties(submit)
        if (repeat, frequency, presence) != NO_PENALTIES:
            size = self._vocabulary.size
            self._add(lib.llama_sampler_init_penalties(size, PENALTY_WINDOW, repeat, frequency, presence))
            for token in prompt[-PENALTY_WINDOW:]:
                lib.llama_sampler_accept(self._chain, token)

    def _choose(self, submit: Submit, defaults: SamplingDefaults) -> None:
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
