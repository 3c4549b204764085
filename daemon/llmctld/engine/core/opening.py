"""A request whose prompt is being made: its chat template may take long to render.

It knows when that can go on; the loop decides what comes then.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

from llmctld.engine.aside import Aside
from llmctld.engine.messages import Command, Finished, Submit
from llmctld.engine.prompt.overflow import Fitted


@dataclass(eq=False)
class Opening:
    """`arrived`: seconds of the monotonic clock. `dropped`: the request was cancelled meanwhile."""

    arrived: float
    submit: Submit
    prompt: Aside[Fitted]
    dropped: bool = False

    def drop(self) -> Finished:
        """Cancel the request; what its prompt becomes is ignored."""
        self.dropped, waited = True, (time.monotonic() - self.arrived) * 1e3
        return Finished(
            id=self.submit.id, reason="cancelled", prompt_tokens=0, completion_tokens=0, queue_ms=waited, prefill_ms=0,
            decode_ms=0,
        )  # fmt: skip


Inbox = SimpleQueue[tuple[float, Command | Opening]]
"""Commands with their arrival time, in seconds of the monotonic clock; and openings that can go on."""


def begin(arrived: float, submit: Submit, make: Callable[[], Fitted], inbox: Inbox) -> Opening:
    """The opening comes back through `inbox` each time that it can go on."""
    opening = Opening(arrived, submit, Aside(make, lambda: inbox.put((arrived, opening))))
    return opening
