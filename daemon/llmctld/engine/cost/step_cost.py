"""What a step takes: a time for each pass through the weights and one for each row, learned from steps."""

ROW_SHARE = 0.2
"""Of a step with one row, what is due to the row and not to reading the weights, before steps were measured."""
ROW_SHARE_WEIGHT = 0.1
"""Steps that this expectation counts as."""
STEP_MEMORY = 0.97
"""The share of what was measured that is kept at the next step. A row's cost is only seen in wider steps: when the last
of them is forgotten it is expected to be ROW_SHARE again, and so tried again."""
FIRST_STEPS, HELD_UP = 3, 3.0
"""A machine that reads its file, or computes for others, makes the first steps a hundred times as long as they are."""


class StepCost:
    """What a step takes, learned from steps: a time for each pass through the weights, and one for each row.

    A line is fitted through the steps' times per row (least squares, older steps count less); where they do not tell
    the two times apart, ROW_SHARE does.
    """

    def __init__(self) -> None:
        self._pp = self._pr = self._rr = self._pt = self._rt = 0.0

    @property
    def known(self) -> bool:
        """Whether anything was measured."""
        return self._pp > 0

    def learn(self, passes: int, rows: int, ms: float) -> None:
        """One step took `ms`. A step that was held up counts as twice what was expected, at most; the first ones of all, where
        nothing was expected yet, are forgotten after one that took a fraction of it."""
        if self._pp:
            expected = self.estimate(passes, rows)
            ms = min(ms, 2 * expected)
            if self._rr < FIRST_STEPS and ms * HELD_UP < expected:
                self._pp = self._pr = self._rr = self._pt = self._rt = 0.0
        share, each = passes / rows, ms / rows  # a step that is twice as long is told as well, not twice as well
        self._pp = self._pp * STEP_MEMORY + share * share
        self._pr = self._pr * STEP_MEMORY + share
        self._rr = self._rr * STEP_MEMORY + 1
        self._pt = self._pt * STEP_MEMORY + share * each
        self._rt = self._rt * STEP_MEMORY + each

    def estimate(self, passes: float, rows: float) -> float:
        """Milliseconds; while no step was measured, in units of a step with one row."""
        a, b = self._fit() if self._pp else (1 - ROW_SHARE, ROW_SHARE)
        return a * passes + b * rows

    def _fit(self) -> tuple[float, float]:
        """Milliseconds of a pass and of a row. ROW_SHARE is one point more, at which their ratio errs by nothing."""
        pp = self._pp + ROW_SHARE_WEIGHT * ROW_SHARE**2
        pr = self._pr - ROW_SHARE_WEIGHT * ROW_SHARE * (1 - ROW_SHARE)
        rr = self._rr + ROW_SHARE_WEIGHT * (1 - ROW_SHARE) ** 2
        scale = pp * rr - pr * pr
        a, b = (rr * self._pt - pr * self._rt) / scale, (pp * self._rt - pr * self._pt) / scale
        if a < 0:
            return 0.0, self._rt / self._rr
        return (a, b) if b > 0 else (self._pt / self._pp, 0.0)


def passes(rows: dict[int, int]) -> int:
    """How often llama.cpp goes through the weights for `rows` in each stream (ascending).

    A pass takes equally many rows from streams with consecutive ids (`llama_batch_allocr::split_equal`): so drafts of
    different lengths cost passes of their own.
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
