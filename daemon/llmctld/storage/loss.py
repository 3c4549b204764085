"""What a store does when its file is removed, replaced, cut short or damaged under a running hub: one rule for all stores.

A rule is a value that the store's owner makes; it does not know how a store notices the loss.
"""

from collections.abc import Callable
from typing import NamedTuple

from llmctld.runtime.log import log


class LossRule(NamedTuple):
    """`what` names the store in notices ("the history"). `tell` takes a notice, from any thread.

    `at_start` and `under_way` say what follows from a loss that is found at the start, or while the hub runs. `refill` is
    called on the event loop after a new file was begun under way: it writes again what memory still knows.

    `begins_anew` is False where nothing may be begun silently: then every operation fails until somebody orders a new file, and
    `hint` says how. `newer`: a file of a newer version is set aside like a damaged one.
    """

    what: str
    tell: Callable[[str], None]
    at_start: str = "a new one was created"
    under_way: str = "a new one was created"
    refill: Callable[[], object] = lambda: None
    begins_anew: bool = True
    newer: bool = False
    hint: str | None = None

    def say(self, happened: str, follows: str, aside: object = None) -> None:
        """One notice and one line in the log. `aside`: where the old file is now."""
        moved = "" if aside is None else f"; the old one is now {aside}"
        log.error("a store was lost", store=self.what, happened=happened, follows=follows, moved_to=str(aside or ""))
        self.tell(f"{self.what} {happened}; {follows}{moved}")
