"""Fixed step times for tests, so that scheduling decisions do not depend on a clock.

Set by the environment variable LLMCTL_ENGINE_STEP_MS. Without it, steps count with their measured times.
"""

from collections.abc import Mapping
from typing import NamedTuple

VARIABLE = "LLMCTL_ENGINE_STEP_MS"
DRAFT_SHARE = 0.1
"""Cost of a draft model's step, as a share of a step of the main model."""


class FixedStepTime(NamedTuple):
    """Milliseconds per pass through the weights, and per row."""

    pass_ms: float
    row_ms: float

    def ms(self, passes: int, rows: int) -> float:
        return self.pass_ms * passes + self.row_ms * rows

    @property
    def of_draft(self) -> "FixedStepTime":
        return FixedStepTime(self.pass_ms * DRAFT_SHARE, self.row_ms * DRAFT_SHARE)


def parse_step_time(environ: Mapping[str, str]) -> FixedStepTime | None:
    """Parse `LLMCTL_ENGINE_STEP_MS="8 2"` (8 ms per pass, 2 ms per row). None if unset or empty. Raises ValueError."""
    if not (said := environ.get(VARIABLE)):
        return None
    try:
        pass_ms, row_ms = map(float, said.split())
    except ValueError:
        message = f"{VARIABLE} is {said!r}, but must be two numbers: the milliseconds of a pass, and of a row"
        raise ValueError(message) from None
    return FixedStepTime(pass_ms, row_ms)
