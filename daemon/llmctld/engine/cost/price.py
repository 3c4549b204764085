"""What a step counts as, where what is decided must not hang on a clock: so many milliseconds, whatever it takes.

It reads a variable that tests set. Without it steps count as what they take, and that is how everybody but a test wants it.
"""

from collections.abc import Mapping
from typing import NamedTuple

VARIABLE = "LLMCTL_ENGINE_STEP_MS"
DRAFT_SHARE = 0.1
"""What a step of a draft model counts as, of one of the model that it drafts for."""


class Price(NamedTuple):
    """Milliseconds of each pass through the weights, and of each row."""

    pass_ms: float
    row_ms: float

    def ms(self, passes: int, rows: int) -> float:
        return self.pass_ms * passes + self.row_ms * rows

    @property
    def of_draft(self) -> "Price":
        return Price(self.pass_ms * DRAFT_SHARE, self.row_ms * DRAFT_SHARE)


def given(environ: Mapping[str, str]) -> Price | None:
    """`LLMCTL_ENGINE_STEP_MS="8 2"`: 8 ms a pass and 2 a row. None without it, or with an empty one. ValueError else."""
    if not (said := environ.get(VARIABLE)):
        return None
    try:
        pass_ms, row_ms = map(float, said.split())
    except ValueError:
        message = f"{VARIABLE} is {said!r}, but must be two numbers: the milliseconds of a pass, and of a row"
        raise ValueError(message) from None
    return Price(pass_ms, row_ms)
