"""Whose a request is: who asked, who pays, and what it is for. The Origin travels with the Call, also through flights.

Budgets will reserve and settle by it. It does not say how the request is answered.
"""

from enum import Enum

import msgspec

from llmctl.wire import PRIORITIES, Generate

OWN = "_llmctl"
"""The payer of the hub's own requests: their label in the history and in the queue of an engine."""


class Purpose(Enum):
    """What a request is for."""

    REQUEST = "request"
    WARM = "warm"
    BATCH_ROW = "batch row"
    STEP = "workflow step"
    TURN = "agent turn"
    PREFETCH = "prefetch"
    JUDGE = "judge"
    SHADOW = "shadow"


OWN_WORK = frozenset({Purpose.PREFETCH, Purpose.JUDGE, Purpose.SHADOW})
"""What the hub asks by itself. Nobody waits for it: it has the priority `batch`, takes no place in a queue, and keeps no
model loaded for longer."""
FILLS_CACHE = frozenset({Purpose.WARM, Purpose.PREFETCH})
"""Only the stored answer is wanted: a look-up counts as neither hit nor miss, and no conversation begins."""


class Origin(msgspec.Struct, frozen=True):
    """`user`, `tags`, `conversation`: who asked. `payer`: the label that is charged. `run`: id of the batch job, workflow run
    or agent run that the request belongs to."""

    user: str = ""
    tags: tuple[str, ...] = ()
    conversation: str | None = None
    payer: str = ""
    purpose: Purpose = Purpose.REQUEST
    priority: str = "normal"
    run: str | None = None

    @property
    def own_work(self) -> bool:
        """Whether the hub asks by itself, so that nobody waits for the answer."""
        return self.purpose in OWN_WORK

    @property
    def fills_cache(self) -> bool:
        """Whether only the stored answer is wanted."""
        return self.purpose in FILLS_CACHE

    @property
    def wants_text(self) -> bool:
        """Whether a user waits for the text: then a look-up counts, and similar questions are looked for."""
        return not self.own_work and not self.fills_cache

    @property
    def urgency(self) -> int:
        """Index of the priority; 0 goes first."""
        return PRIORITIES.index(self.priority)

    def with_urgency_of(self, other: "Origin") -> "Origin":
        """This origin, with the more urgent of both priorities."""
        return msgspec.structs.replace(self, priority=min((self, other), key=lambda origin: origin.urgency).priority)


def origin_of(request: Generate, purpose: Purpose = Purpose.REQUEST, run: str | None = None) -> Origin:
    """The origin of a user's request, or of what the hub asks by itself about one."""
    own = purpose in OWN_WORK
    priority = request.priority if request.priority in PRIORITIES else None  # `validate` refuses any other
    return Origin(
        user=request.user, tags=tuple(request.tags), payer=OWN if own else request.user, purpose=purpose,
        priority="batch" if own else priority or "normal", run=run,
    )  # fmt: skip
