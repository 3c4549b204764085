"""A circuit breaker: after several failures in a row an endpoint gets no requests for a while, then one on trial.

Knows neither HTTP nor models; callers decide what counts as a failure.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from llmctl.errors import LlmctlError, ModelUnavailable

FAILURES = 5
"""Failures in a row that open the breaker."""
COOL_S = 15.0
"""Seconds until one request may try again."""


class ServerMessage(NamedTuple):
    """An endpoint's own account of a failure: `words` for a person, `code` for a program."""

    words: str
    code: str


class AttemptFailed(Exception):
    """One attempt failed. `error` is raised to the caller if there is no further attempt.

    `again`: another attempt may succeed. `after`: seconds that the server asks the client to wait. `counts`: the breaker counts
    this failure. `refusal`: the endpoint's own account, if it answered.
    """

    def __init__(
        self,
        error: LlmctlError,
        *,
        again: bool = True,
        after: float = 0.0,
        counts: bool = True,
        refusal: ServerMessage | None = None,
    ) -> None:
        super().__init__(error.message)
        self.error, self.again, self.after, self.counts, self.refusal = error, again, after, counts, refusal


class Breaker:
    """`name`: the endpoint, for messages."""

    def __init__(self, name: str, now: Callable[[], float] = time.monotonic) -> None:
        self._name, self._now = name, now
        self._failures = 0
        self._until = 0.0
        self._trying = False
        self._words = ""

    @property
    def is_open(self) -> bool:
        """Whether requests are refused, except for one on trial."""
        return self._failures >= FAILURES

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Runs one attempt and counts an AttemptFailed that leaves the block. Raises ModelUnavailable while the
        breaker is open.
        """
        self._admit()
        try:
            yield
        except AttemptFailed as trouble:
            if trouble.counts:
                self._failed(trouble.error.message)
            else:
                self.answered()
            raise
        finally:
            self._trying = False

    def answered(self) -> None:
        """The endpoint has answered: resets the count."""
        self._failures, self._trying = 0, False

    def _admit(self) -> None:
        if not self.is_open:
            return
        rest = self._until - self._now()
        if rest > 0 or self._trying:
            when = f"in {max(1, round(rest))} s" if rest > 0 else "by another request just now"
            raise ModelUnavailable(
                f"{self._name} failed {self._failures} times in a row and is tried again {when}; "
                f"the last error: {self._words}",
                "Check whether the server runs. `llmctl ps` shows the model as down until it answers.",
            )
        self._trying = True

    def _failed(self, words: str) -> None:
        self._failures += 1
        self._until, self._words = self._now() + COOL_S, words
