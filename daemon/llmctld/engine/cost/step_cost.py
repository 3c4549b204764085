"""Predicts the time of a step from its passes through the weights and its rows, learned from measured steps."""

ROW_SHARE = 0.2
"""Assumed share of a one-row step that is due to the row, not to reading the weights, before any measurement."""
ROW_SHARE_WEIGHT = 0.1
"""Weight of that assumption, in steps."""
STEP_MEMORY = 0.97
"""Weight of earlier steps at each new one. Only wider steps show the cost of a row; when the last one is forgotten, the estimate
returns to ROW_SHARE, and wider steps are tried again."""
FIRST_STEPS, HELD_UP = 3, 3.0
"""The first FIRST_STEPS steps may be outliers by a factor of HELD_UP or more, e.g. while the file is read or the machine is
busy."""


class StepCost:
    """Time per pass and time per row, fitted by least squares over the steps' times per row. Older steps count less. Where the
    measurements cannot separate the two, ROW_SHARE does."""

    def __init__(self) -> None:
        self._pp = self._pr = self._rr = self._pt = self._rt = 0.0

    @property
    def known(self) -> bool:
        """Whether any step was measured."""
        return self._pp > 0

    def learn(self, passes: int, rows: int, ms: float) -> None:
        """Record a step that took `ms`. An outlier counts as twice the expected time at most. Early outliers are dropped when a
        later step is HELD_UP times faster."""
        if self._pp:
            expected = self.estimate(passes, rows)
            ms = min(ms, 2 * expected)
            if self._rr < FIRST_STEPS and ms * HELD_UP < expected:
                self._pp = self._pr = self._rr = self._pt = self._rt = 0.0
        share, each = passes / rows, ms / rows  # longer steps are weighted like short ones
        self._pp = self._pp * STEP_MEMORY + share * share
        self._pr = self._pr * STEP_MEMORY + share
        self._rr = self._rr * STEP_MEMORY + 1
        self._pt = self._pt * STEP_MEMORY + share * each
        self._rt = self._rt * STEP_MEMORY + each

    def estimate(self, passes: float, rows: float) -> float:
        """Expected milliseconds; before any measurement, in units of a one-row step."""
        a, b = self._fit() if self._pp else (1 - ROW_SHARE, ROW_SHARE)
        return a * passes + b * rows

    def _fit(self) -> tuple[float, float]:
        """Milliseconds per pass and per row. ROW_SHARE enters as one more point, which their ratio fits exactly."""
        pp = self._pp + ROW_SHARE_WEIGHT * ROW_SHARE**2
        pr = self._pr - ROW_SHARE_WEIGHT * ROW_SHARE * (1 - ROW_SHARE)
        rr = self._rr + ROW_SHARE_WEIGHT * (1 - ROW_SHARE) ** 2
        scale = pp * rr - pr * pr
        a, b = (rr * self._pt - pr * self._rt) / scale, (pp * self._rt - pr * self._pt) / scale
        if a < 0:
            return 0.0, self._rt / self._rr
        return (a, b) if b > 0 else (self._pt / self._pp, 0.0)


def passes(rows: dict[int, int]) -> int:
    """Number of passes through the weights that llama.cpp needs for `rows` rows per stream (ascending).

    One pass takes the same number of rows from each of a run of consecutive streams (`llama_batch_allocr::split_equal`), so
    drafts of different lengths need extra passes.
    """
    if len(rows) == 1:
        return 1
    left = dict(rows)
    count = 0
    while left:
        first = stream = min(left)
        while stream + 1 in left:
            stream += 1
        least = min(left[each] for each in range(first, stream + 1))
        for each in range(first, stream + 1):
            left[each] -= least
            if not left[each]:
                del left[each]
        count += 1
    return count
