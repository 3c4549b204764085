"""How much of each stress test runs: a twentieth in `make test`, all in `make stress`; and the seed, printed.

`make test` must say the same of the same tree each time, so chance begins from one seed there; `make stress` takes a new one.
"""

import os
import random

SCALE = float(os.environ.get("LLMCTL_STRESS", "0.05"))
FULL = SCALE >= 1.0
SEED = 20_263


def count(full: int) -> int:
    """Rounds of a test whose whole count is `full`."""
    return max(1, round(full * SCALE))


def seeded() -> random.Random:
    """A generator whose seed is printed: LLMCTL_SEED=N repeats a run."""
    seed = int(os.environ.get("LLMCTL_SEED") or (random.SystemRandom().randrange(2**32) if FULL else SEED))
    print(f"LLMCTL_SEED={seed}")  # pytest shows it when the test fails
    return random.Random(seed)
