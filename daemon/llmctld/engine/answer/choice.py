"""Chooses the next token from a row of logits, in numpy: one Choice per request, restricted by its schema or grammar.

Applies the steps of llama.cpp's sampler chain in the same order (bias, penalties, top-k, top-p, min-p, temperature). It does not
know batches or the library that computed the row.
"""

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from llmctld.engine.answer.sampling import (
    NO_PENALTIES,
    PENALTY_WINDOW,
    SamplingDefaults,
    Words,
    check,
    grammar_of,
    penalties,
    score,
)
from llmctld.engine.errors import Refusal
from llmctld.engine.messages import Scored, Submit

Row = NDArray[np.float32]


class Choice:
    """`bias`: token -> value added to its logit. `prompt` counts for the penalties. `end`: an end token, or -1 for none.

    `scored` collects log-probabilities if the request asks for them; else None.
    """

    def __init__(
        self, submit: Submit, defaults: SamplingDefaults, vocabulary: Words, bias: Mapping[int, float], prompt: list[int],
        end: int,
    ) -> None:  # fmt: skip
        check(submit)
        self._vocabulary, self._end, self._top = vocabulary, end, submit.logprobs
        self._grammar = grammar_of(submit, vocabulary)
        self._bias = np.array(list(bias), np.int64), np.array(list(bias.values()), np.float32)
        self._banned = [token for token, value in bias.items() if value == -math.inf]
        self._penalties = penalties(submit, defaults.repeat_penalty)
        self._past = prompt[-PENALTY_WINDOW:]
        self._temperature = _or(submit.temperature, defaults.temperature)
        self._top_k = int(_or(submit.top_k, defaults.top_k))
        self._top_p = _or(submit.top_p, defaults.top_p)
        self._min_p = _or(submit.min_p, defaults.min_p)
        self._dice = np.random.Generator(np.random.PCG64(submit.seed))
        self.scored: list[Scored] | None = None if submit.logprobs is None else []

    @property
    def is_plain(self) -> bool:
        """Whether the request wants the likeliest token and nothing changes the row."""
        changed = self._grammar is not None or len(self._bias[0]) or self._penalties != NO_PENALTIES
        return self._temperature <= 0 and not changed and self.scored is None

    def pick(self, logits: Row) -> int:
        """The next token, or an end token if the grammar allows nothing else. May change `logits`. Raises Refusal on NaN."""
        if np.isnan(logits).any():
            raise no_number()
        raw = logits.copy() if self._top is not None else logits
        token = self._within(logits)
        self._past = [*self._past, token][-PENALTY_WINDOW:]
        if self.scored is not None:
            self.scored.append(score(raw, token, self._top or 0, self._vocabulary))
        return token

    def _within(self, logits: Row) -> int:
        if self._grammar is None:
            return self._free(logits)
        allowed = self._grammar.allowed()[: len(logits)]
        allowed[[token for token in self._banned if token < len(allowed)]] = False
        if not allowed.any():
            return self._end
        logits[: len(allowed)][~allowed] = -math.inf
        logits[len(allowed) :] = -math.inf
        token = self._free(logits)
        return token if allowed[token] and self._grammar.take(token) else self._end

    def _free(self, logits: Row) -> int:
        tokens, values = self._bias
        logits[tokens] += values
        self._penalise(logits)
        return int(logits.argmax()) if self._temperature <= 0 else self._draw(logits)

    def _penalise(self, logits: Row) -> None:
        if self._penalties == NO_PENALTIES:
            return
        repeat, frequency, presence = self._penalties
        for token, count in Counter(self._past).items():
            if 0 <= token < len(logits):
                value = logits[token]
                logits[token] = (value * repeat if value <= 0 else value / repeat) - count * frequency - presence

    def _draw(self, logits: Row) -> int:
        tokens = _best(logits, self._top_k or len(logits))
        tokens = tokens[: _nucleus(logits[tokens], self._top_p)]
        values = logits[tokens].astype(np.float64)
        if self._min_p > 0:
            kept = values >= values[0] + math.log(self._min_p)
            tokens, values = tokens[kept], values[kept]
        sums = np.exp((values - values[0]) / self._temperature).cumsum()
        place = int(np.searchsorted(sums, self._dice.random() * sums[-1], side="right"))
        return int(tokens[min(place, len(tokens) - 1)])


def no_number() -> Refusal:
    message = "the model computed an invalid number (NaN) for the next token"
    return Refusal("engine_failed", message, "Its files may be damaged: download them again, or try another `dtype`.")


def _or(given: float | None, default: float) -> float:
    return default if given is None else given


def _best(logits: Row, count: int) -> NDArray[np.intp]:
    """Indices of the `count` largest logits, descending; ties go to the lower index."""
    if count < len(logits):
        chosen = np.argpartition(-logits, count)[:count]
        chosen.sort()
    else:
        chosen = np.arange(len(logits))
    return chosen[np.argsort(-logits[chosen], kind="stable")]


def _nucleus(logits: Row, share: float) -> int:
    """Number of top tokens whose probabilities sum to `share`; at least one."""
    if share >= 1:
        return len(logits)
    weights = np.exp(logits.astype(np.float64) - logits[0])
    return int(np.searchsorted(weights.cumsum(), share * weights.sum())) + 1
