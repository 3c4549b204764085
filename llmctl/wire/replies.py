"""What the hub sends: any number of `Delta | Notice | Progress`, then exactly one of `Done | Failed | Cancelled`."""

from llmctl.wire.answer import Answer, Answers
from llmctl.wire.cache import CacheAudit, CacheEntries, CacheShown, CacheStats, Cleared, HitUndone, Warmed
from llmctl.wire.daemon import HubStatus, Nothing, Stopped
from llmctl.wire.embed import Embeddings
from llmctl.wire.history import Undone
from llmctl.wire.message import Reply
from llmctl.wire.models import Described, Engines, Estimated, Model

AnyResult = (
    Answer
    | Answers
    | Embeddings
    | HubStatus
    | Engines
    | Stopped
    | CacheStats
    | CacheEntries
    | CacheShown
    | Cleared
    | Warmed
    | CacheAudit
    | HitUndone
    | Undone
    | Model
    | Estimated
    | Described
    | Nothing
)


class Delta(Reply, kw_only=True, tag="delta"):
    """A piece of the answer, or of the reasoning before it: in order, never a part of a stop string or of a
    character."""

    text: str = ""
    reasoning: str = ""
    index: int = 0
    """number of the sample, from 0"""


class Notice(Reply, kw_only=True, tag="notice"):
    """Something the user should know that is not the answer."""

    text: str
    """a sentence"""


class Progress(Reply, kw_only=True, tag="progress"):
    """Still at work."""

    state: str = "working"
    """`working`, `loading`, `queued` or `pulling`"""
    done: int = 0
    """bytes that have come"""
    total: int = 0
    """all bytes; 0: the work is not counted in bytes"""


class Done(Reply, kw_only=True, tag="done"):
    """The final reply of a request that succeeded."""

    result: AnyResult
    """one of the results"""


class Failed(Reply, kw_only=True, tag="failed"):
    """The final reply of a request that failed."""

    code: str
    """a code of `llmctl/errors.py`; a client treats a code that it does not know as `internal`"""
    message: str
    """what happened, with the values"""
    hint: str = ""
    """what to do next"""
    answer: Answer | None = None
    """what had been generated"""
    answers: list[Answer] = []
    """instead of `answer`, where several samples were asked for"""
    retry: bool = False
    """nothing was begun: the same request may be sent to the next hub"""


class Cancelled(Reply, kw_only=True, tag="cancelled"):
    """The final reply of a request that was cancelled, by its client or by a hub that stops."""

    answer: Answer | None = None
    """what had been generated"""
    answers: list[Answer] = []
    """instead of `answer`, where several samples were asked for"""


AnyReply = Delta | Notice | Progress | Done | Failed | Cancelled
FINAL = (Done, Failed, Cancelled)
