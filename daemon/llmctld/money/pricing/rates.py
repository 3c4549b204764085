"""How slow a model was at its slowest, per token, and its highest power: what machine time and energy are reserved by."""

from typing import NamedTuple

from llmctl.wire import Timings, TokenUsage

FIRST_S = 60.0
"""Reserved for a model that has not been measured yet."""
FIRST_W = 1000.0
"""Reserved as the power of a model whose energy has not been measured yet."""
STEP_TOKENS = 256
"""Machine time is reserved for so many tokens of an answer at a time; more is reserved while it runs."""


class Rate(NamedTuple):
    """Seconds for a token of the prompt and of the answer."""

    prompt_s: float = 0.0
    completion_s: float = 0.0


class Rates:
    """The slowest measured rate of each model since the hub started."""

    def __init__(self) -> None:
        self._slowest: dict[str, Rate] = {}
        self._watts: dict[str, float] = {}

    def note(self, model: str, usage: TokenUsage, timings: Timings) -> None:
        computed = usage.prompt_tokens - usage.cached_tokens
        prompt_s = timings.prefill_ms / 1e3 / computed if computed > 0 else 0.0
        completion_s = timings.decode_ms / 1e3 / usage.completion_tokens if usage.completion_tokens else 0.0
        before = self._slowest.get(model, Rate())
        self._slowest[model] = Rate(max(before.prompt_s, prompt_s), max(before.completion_s, completion_s))

    def note_energy(self, model: str, joules: float, seconds: float) -> None:
        """The energy of an answer, and the seconds in which it was computed."""
        if seconds > 0:
            self._watts[model] = max(self._watts.get(model, 0.0), joules / seconds)

    def watts(self, model: str) -> float:
        """By which energy is reserved: the highest measured power."""
        return self._watts.get(model, FIRST_W)

    def machine_s(self, model: str, prompt_tokens: int, max_tokens: int) -> float:
        """Seconds to reserve for a prompt and the first tokens of its answer."""
        slowest = self._slowest.get(model)
        if slowest is None:
            return FIRST_S
        return prompt_tokens * slowest.prompt_s + min(max_tokens, STEP_TOKENS) * slowest.completion_s

    def step_s(self, model: str) -> float:
        """Seconds to reserve at a time while the answer is generated."""
        slowest = self._slowest.get(model)
        return FIRST_S if slowest is None else max(1.0, STEP_TOKENS * slowest.completion_s)
